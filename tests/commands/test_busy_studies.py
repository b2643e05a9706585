"""What is said of a study that a process holds for other work than to run its trials, such as a confirmation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.addresses import sqlite_address
from sweeper.cli import app
from sweeper.errors import StudyError, StudyLocked
from sweeper.files import write_whole
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.holding import held_study
from sweeper.study.lock import CONFIRMS, other_work, study_lock
from sweeper.study.requests import Inbox
from tests.search.test_study_store import sweep_of


@pytest.fixture
def confirmed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A folder with a study that is held as `sweeper confirm` does."""
    monkeypatch.chdir(workspace.root)
    store = StudyStore.create_or_load(sqlite_address(workspace.optuna_database), sweep_of())
    write_whole(workspace.study("s").card, "{}")
    with held_study(workspace, store, which=CONFIRMS):
        yield workspace
    store.close()


def failure(*words: str) -> BaseException | None:
    return CliRunner().invoke(app, [*words]).exception


def refuse(path: Path, patience_s: float) -> str:
    raise AssertionError(f"{path} was left to a driver")


def name_folder(path: Path, patience_s: float) -> str:
    return f"left to the {path.parent.parent.name}"


REFUSED = [("enqueue", "s", "drop_rate=0.1"), ("skip", "s/1"), ("set", "s", "trials=9")]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_what_a_confirmation_does_not_take_is_told_at_once(
    confirmed: Workspace, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sweeper.study.requests.wait_for_answer", refuse)
    error = failure(*words)
    assert isinstance(error, StudyError)
    assert "which trains its best trials again, and only takes stop, pause, resume and set workers=N" in str(error)
    assert not confirmed.study("s").requests.exists()


@pytest.mark.parametrize("words", [("stop",), ("pause", "s"), ("resume", "s"), ("set", "s", "workers=2")], ids=" ".join)
def test_what_a_confirmation_takes_is_left_to_it(
    confirmed: Workspace, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sweeper.study.requests.wait_for_answer", name_folder)
    said = CliRunner().invoke(app, [*words])
    assert "study s: left to the confirmation" in said.output
    [request] = confirmed.study("s").confirmation.requests.iterdir()
    kind = "workers" if words[0] == "set" else words[0]
    assert f'"kind":"{kind}"' in request.read_text()


def test_who_does_other_work_takes_no_requests(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)
    with study_lock(workspace.study("s"), "s", which="checks it"):
        error = failure("stop", "s")
    assert "which checks it and takes no requests meanwhile; wait for it, or press Ctrl-C where it runs" in str(error)


def shown(command: str) -> str:
    return CliRunner().invoke(app, [command]).output


def test_a_pause_is_shown_as_long_as_somebody_waits(workspace: Workspace, confirmed: Workspace) -> None:
    assert "paused" not in shown("list") + shown("status")
    confirmed_inbox = Inbox.of(workspace.study("s").confirmation)
    write_whole(confirmed_inbox.folder / "note", "")
    confirmed_inbox.note_paused(True)
    assert "paused" in shown("list")
    assert "0 of 6 trials ended; paused: `sweeper resume` lets its trials go on" in shown("status")


def test_a_pause_that_a_killed_driver_left_is_not_shown(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)
    StudyStore.create_or_load(sqlite_address(workspace.optuna_database), sweep_of()).close()
    inbox = Inbox.of(workspace.study("s"))
    write_whole(inbox.folder / "note", "")
    inbox.note_paused(True)
    with study_lock(workspace.study("s"), "s"):
        assert "paused" in shown("list")
    assert "unfinished" in shown("list")
    assert "paused" not in shown("status")


@pytest.mark.usefixtures("confirmed")
def test_a_study_that_is_confirmed_is_not_deleted_and_no_useless_command_is_named() -> None:
    error = failure("delete", "s", "--yes")
    assert isinstance(error, StudyLocked)
    assert "which trains its best trials again, and is not deleted" in str(error)
    assert "sweeper stop" not in str(error)


def test_who_runs_trials_does_no_other_work(workspace: Workspace) -> None:
    folder = workspace.study("s")
    assert other_work(folder) is None
    with (
        study_lock(folder, "s", which="checks it"),
        pytest.raises(StudyLocked, match=r"is held by process .*, which checks it; wait for it, or press Ctrl-C"),
        study_lock(folder, "s"),
    ):
        pass
    with study_lock(folder, "s"):
        assert other_work(folder) is None
    with study_lock(folder, "s", which="checks it"):
        assert str(other_work(folder)).endswith(", which checks it")
    assert other_work(folder) is None
