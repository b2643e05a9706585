"""What is sent of a run that ends before or after its search."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from sweeper.commands.leaving import INTERRUPTED, TOLD_TO_LEAVE, ToldToLeave
from sweeper.commands.notifying import tell_of_end, telling_of_errors
from sweeper.config.notify import NotifyConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialState
from sweeper.search.stored_trial import CONFIRMATION
from sweeper.search.study_store import StudyStore
from sweeper.standings.confirmation import Confirmation, Leader
from sweeper.standings.winner import study_winner
from sweeper.study.result import ASKED_TO_STOP, SweepResult
from tests.report.studies import sweep_of, write_images, write_study

CLASSES = ["a", "b"]


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    paths = write_images(tmp_path / "images", CLASSES, 2)
    return write_study(Workspace(tmp_path), sweep_of(), paths, CLASSES, 6)


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    program = f"import sys; open({str(tmp_path / 'told')!r}, 'a').write(sys.stdin.read() + chr(10))"
    command = shlex.join([sys.executable, "-c", program])
    return sweep_of().model_copy(update={"notify": NotifyConfig(command=command)})


def told(root: Path) -> list[dict[str, Any]]:
    file = root / "told"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def ended(store: StudyStore) -> SweepResult:
    return SweepResult(store.rows(), interrupted=False, stopped_because=None, undelivered=0, experiment=None)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (typer.Exit(INTERRUPTED), "interrupted"),
        (typer.Exit(TOLD_TO_LEAVE), "stopped by SIGTERM"),
        (ToldToLeave(TOLD_TO_LEAVE), "stopped by SIGTERM"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_what_interrupts_a_run_after_its_search_is_told_once(
    store: StudyStore, sweep: SweepConfig, tmp_path: Path, end: BaseException, reason: str
) -> None:
    def run() -> None:
        with telling_of_errors(sweep, Workspace(tmp_path), None) as underway:
            underway.result = ended(store)
            raise end

    with pytest.raises(type(end)):
        run()
    (notice,) = told(tmp_path)
    assert (notice["state"], notice["reason"]) == ("interrupted", reason)
    assert notice["trials"] == {"complete": 4, "pruned": 2}


def test_ctrl_c_before_the_search_is_told_with_the_trials_of_earlier_runs(
    store: StudyStore, sweep: SweepConfig, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), telling_of_errors(sweep, Workspace(tmp_path), None):
        raise KeyboardInterrupt
    assert told(tmp_path)[0]["trials"] == {"complete": 4, "pruned": 2}
    with pytest.raises(KeyboardInterrupt), telling_of_errors(sweep, Workspace(tmp_path / "new"), None):
        raise KeyboardInterrupt
    assert (told(tmp_path)[1]["state"], told(tmp_path)[1]["trials"]) == ("interrupted", {})
    assert store.rows()


def test_a_storage_that_fails_at_the_end_changes_neither_the_notice_nor_the_exit(
    store: StudyStore, sweep: SweepConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise StudyError("the storage does not answer")

    result = ended(store)
    monkeypatch.setattr("sweeper.standings.winner.study_winner", fails)
    tell_of_end(result, sweep, Workspace(tmp_path), None, exported=False)
    (notice,) = told(tmp_path)
    assert (notice["state"], notice["trials"]) == ("finished", {"complete": 4, "pruned": 2})
    assert notice["best"] is not None


@pytest.mark.parametrize(
    ("more", "whole", "state"),
    [
        ({"stopped_because": ASKED_TO_STOP}, False, "stopped"),
        ({"stopped_because": "the time is used up"}, False, "failed"),
        ({"undelivered": 2, "refused": "another study has the name"}, True, "failed"),
        ({"undelivered": 2, "trouble": "the server is away"}, True, "finished"),
    ],
)
def test_the_state_that_is_told_is_that_of_the_exit(
    store: StudyStore, sweep: SweepConfig, tmp_path: Path, more: dict[str, Any], whole: bool, state: str
) -> None:
    study = sweep if whole else sweep.model_copy(update={"study": "new"})
    rows = store.rows() if whole else [row for row in store.rows() if row.state is not TrialState.COMPLETE]
    tell_of_end(replace(ended(store), rows=rows, **more), study, Workspace(tmp_path), None, exported=False)
    (notice,) = told(tmp_path)
    assert notice["state"] == state


@pytest.mark.parametrize("code", [0, 1, INTERRUPTED])
def test_an_exit_whose_reason_was_told_is_not_told_again(sweep: SweepConfig, tmp_path: Path, code: int) -> None:
    with pytest.raises(typer.Exit), telling_of_errors(sweep, Workspace(tmp_path), None):
        raise typer.Exit(code)
    assert told(tmp_path) == []


def test_the_trial_that_a_confirmation_chose_is_the_best(store: StudyStore, sweep: SweepConfig, tmp_path: Path) -> None:
    by_search = study_winner(store)
    assert by_search is not None
    other = next(row for row in store.rows() if row.value is not None and row.number != by_search.number)
    leaders = (Leader(trial=other.number, searched=other.value or 0.0, values=(0.5, 0.6)),)
    found = Confirmation(metric="val/accuracy", direction="maximize", seeds=2, known_trials=6, leaders=leaders)
    store.note(CONFIRMATION, found.model_dump(mode="json"))
    tell_of_end(replace(ended(store)), sweep, Workspace(tmp_path), None, exported=True)
    (notice,) = told(tmp_path)
    assert notice["best"]["trial"] == other.number
    assert f"(trial {other.number}); exported to" in notice["text"]
