"""The files in which a running study is asked for something, and answered."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from sweeper.errors import StudyError
from sweeper.paths import StudyFolder
from sweeper.study.requests import Enqueue, Inbox, Pause, Resume, SetTrials, SetWorkers, Skip, Stop, wait_for_answer


def test_an_unanswered_request_is_withdrawn(tmp_path: Path) -> None:
    path = Inbox.of(StudyFolder(tmp_path)).put(Stop())
    assert wait_for_answer(path, 0) is None
    assert not path.exists()


def test_a_request_that_is_taken_is_waited_for_and_its_answer_is_given_once(tmp_path: Path) -> None:
    inbox = Inbox.of(StudyFolder(tmp_path))
    path = inbox.put(SetWorkers(workers=1))
    assert [request for _, request in inbox.take()] == [SetWorkers(workers=1)]
    later = threading.Timer(0.3, inbox.done, (path, "one trial at a time"))
    later.start()
    assert wait_for_answer(path, 0) == "one trial at a time"
    later.join()
    assert list(inbox.folder.iterdir()) == []


def test_requests_that_vanish_or_cannot_be_read_hold_up_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = Inbox.of(StudyFolder(tmp_path))
    withdrawn, foreign, last = inbox.put(Pause()), inbox.put(Resume()), inbox.put(Stop())
    (inbox.folder / "0.json").symlink_to("nowhere")
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path == withdrawn:
            path.unlink()
        if path == foreign:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert [path for path, _ in inbox.take()] == [last]
    with pytest.raises(StudyError, match=r"cannot read the request \(Permission denied\)"):
        wait_for_answer(foreign, 0)
    assert [file.name for file in inbox.folder.iterdir()] == [last.with_suffix(".taken").name]


def test_requests_that_belong_to_another_user_are_left_and_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of root, who made the folder: the driver may neither rename, remove nor answer them."""
    inbox = Inbox.of(StudyFolder(tmp_path))
    paths = [inbox.put(Stop()), inbox.put(SetTrials(trials=9))]
    paths[1].rename(paths[1].with_suffix(".taken"))
    (inbox.folder / "0.json").write_text("no request")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for change in ("rename", "unlink"):
        monkeypatch.setattr(Path, change, refused)
    for _ in range(3):
        assert list(inbox.take()) == []
        inbox.forget_old(time.time_ns())
    assert len(caplog.records) == 3
    assert "must belong to the user who runs the study" in caplog.text


def test_of_old_requests_only_those_that_concern_the_trials_to_come_are_kept(tmp_path: Path) -> None:
    inbox = Inbox.of(StudyFolder(tmp_path))
    inbox.put(Stop())
    kept, taken = inbox.put(SetTrials(trials=9)), inbox.put(Enqueue(name="mine", settings={}))
    taken.rename(taken.with_suffix(".taken"))  # by a driver that has died with it
    inbox.refuse(inbox.put(Pause()), "no")
    answered = inbox.put(Skip(number=1))
    inbox.done(answered, "ends")
    answered.with_suffix(".taken").touch()  # the driver died between the two
    now = time.time_ns()
    later = inbox.put(Stop())
    inbox.forget_old(now)
    assert [path for path, _ in inbox.take()] == [kept, taken, later]


def test_a_refusal_in_the_last_moment_is_no_withdrawal(tmp_path: Path) -> None:
    inbox = Inbox.of(StudyFolder(tmp_path))
    path = inbox.put(Stop())
    with patch("sweeper.study.requests._answer_to", side_effect=[None, ("refused", "why")]) as looking:
        looking.side_effect = [None, (".refused", "why")]
        inbox.refuse(path, "why")
        with pytest.raises(StudyError, match="why"):
            wait_for_answer(path, 0)


def test_a_folder_among_the_requests_ends_nothing(tmp_path: Path) -> None:
    inbox = Inbox.of(StudyFolder(tmp_path))
    (inbox.folder / "0.json").mkdir(parents=True)
    path = inbox.put(Stop())
    assert [found for found, _ in inbox.take()] == [path]
