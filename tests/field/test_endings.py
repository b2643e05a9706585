"""A run that MLflow could not be told the end of is closed later as the study ended, though trials may remain."""

from __future__ import annotations

from collections.abc import Iterator

import mlflow
import pytest

from sweeper.confirm.repetitions import STORED, Repetition, stored_repetitions
from sweeper.engines.protocol import Event
from sweeper.errors import DiskError, StudyError
from sweeper.files import write_sealed, write_whole
from sweeper.paths import TrialFolder
from sweeper.results import Repeats, TrialSpec
from sweeper.study import ending
from sweeper.study.ending import KILLED, RUNNING, note_ending
from sweeper.tracking.run_record import read_record
from sweeper.upkeep.sync import sync_study
from tests.field.folders import Here, Repeating, confirm, runs


def lose_connection(here: Here, name: str) -> None:
    """Let MLflow have missed how a parent run ended."""
    mlflow.MlflowClient(here.tracking).update_run(runs(here.tracking)[name].info.run_id, status="RUNNING")


def status(here: Here, name: str = "s") -> str:
    return str(runs(here.tracking)[name].info.status)


@pytest.fixture
def stopped(here: Here) -> Here:
    """A study that was stopped by failures, after two of its four trials."""
    here.run(script=here.fails, budget={"trials": 4, "epochs": 2, "max_consecutive_failures": 2})
    assert len(here.store.rows()) == 2
    assert status(here) == "FINISHED"
    return here


def test_a_study_that_was_stopped_is_finished_for_sync_and_doctor(stopped: Here) -> None:
    lose_connection(stopped, "s")
    sync_study(stopped.workspace, stopped.storage, "s", None)
    assert status(stopped) == "FINISHED"
    lose_connection(stopped, "s")
    assert stopped.wrong() == ["s is marked as running"]
    assert stopped.wrong(fix=True) == []
    assert status(stopped) == "FINISHED"


def test_a_run_that_is_closed_is_never_closed_otherwise_by_sync(stopped: Here) -> None:
    stopped.folder.ending.unlink()  # as an earlier version leaves it
    sync_study(stopped.workspace, stopped.storage, "s", None)
    assert status(stopped) == "FINISHED"


def test_a_study_whose_driver_died_is_killed_until_no_trial_remains(stopped: Here) -> None:
    note_ending(stopped.folder, RUNNING)
    sync_study(stopped.workspace, stopped.storage, "s", None)
    assert status(stopped) == "KILLED"
    stopped.run(2)
    note_ending(stopped.folder, RUNNING)
    sync_study(stopped.workspace, stopped.storage, "s", None)
    assert status(stopped) == "FINISHED"


def test_a_study_that_breaks_on_a_full_disk_notes_nothing_and_tells_the_first_error(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskError("full twice")

    def breaks(spec: TrialSpec) -> Iterator[Event]:
        yield next(here.trains(spec))
        monkeypatch.setattr(ending, "write_sealed", full)
        raise DiskError("full once")

    with pytest.raises(DiskError, match="once"):
        here.run(2, script=breaks)
    assert status(here) == "FAILED"


def test_a_confirmation_with_fewer_leaders_than_an_earlier_one_is_finished(here: Here) -> None:
    here.run(1)
    confirm(here, top=1)
    folder = here.folder.confirmation
    left = Repetition(number=2, repeats=Repeats(trial=7, seed_number=1))  # planned once, of more leaders
    write_sealed(folder.repetitions, STORED.dump_json([*stored_repetitions(folder), left]))
    for close in (lambda: sync_study(here.workspace, here.storage, "s", None), lambda: here.wrong(fix=True)):
        lose_connection(here, "s-confirmation")
        close()
        assert status(here, "s-confirmation") == "FINISHED"
    note_ending(folder, KILLED)
    sync_study(here.workspace, here.storage, "s", None)
    assert status(here, "s-confirmation") == "KILLED"


def test_what_a_smaller_confirmation_leaves_out_is_closed_and_keeps_no_checkpoint(here: Here) -> None:
    here.run(2)
    again = Repeating(here.root)
    begun: list[TrialFolder] = []

    def breaks_at_the_second(spec: TrialSpec) -> Iterator[Event]:
        if spec.number == 0:
            yield from again.trains(spec)
            return
        folder = again.folder.trial(spec.number)
        begun.append(folder)
        write_whole(folder.checkpoint, b"checkpoint")
        write_whole(folder.fold(1).checkpoint, b"checkpoint")
        yield next(again.trains(spec))
        raise StudyError("the machine is lost")

    with pytest.raises(StudyError, match="lost"):
        confirm(here, top=2, script=breaks_at_the_second)
    (left,) = begun
    record = read_record(left.run)
    assert record is not None
    client = mlflow.MlflowClient(here.tracking)
    client.update_run(record.run_id, status="RUNNING")  # as a driver leaves it that is killed
    assert not confirm(here, top=1).undelivered
    assert client.get_run(record.run_id).info.status == "KILLED"
    assert left.history.exists()
    assert not left.checkpoint.exists()
    assert not left.fold(1).checkpoint.exists()
    assert [one.outcome is None for one in stored_repetitions(again.folder)] == [False, True, False, True]
    assert not confirm(here, top=2).undelivered
    assert client.get_run(record.run_id).info.status == "FINISHED"
