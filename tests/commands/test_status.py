"""What `sweeper status` says of a study in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.addresses import sqlite_address
from sweeper.cli import app
from sweeper.paths import Workspace
from sweeper.results import TrialOutcome, TrialState
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial
from tests.search.test_study_store import complete, sweep_of

FAILED = TrialOutcome(state=TrialState.FAILED, epochs=0, seconds=1.0, reason="the loss is not finite")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stored(folder: Path, *outcomes: TrialOutcome, budget: int = 6) -> None:
    """Store the study `s` with trials that have ended like this."""
    url = sqlite_address(Workspace(folder).optuna_database)
    store = StudyStore.create_or_load(url, sweep_of())
    for outcome in outcomes:
        spec = next_trial(store)
        assert spec is not None
        store.finish(spec.number, outcome)
    if budget != 6:
        StudyStore.create_or_load(url, sweep_of(budget={"trials": budget, "epochs": 4}))
    store.close()


def status() -> str:
    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_a_study_has_a_finished_trial_also_where_that_is_not_among_those_listed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.commands.status.LISTED_TRIALS", 2)
    stored(folder, complete(0.5), FAILED, FAILED)
    shown = status()
    assert "listed: 2 of 3 trials" in shown
    assert "has finished" not in shown


def test_where_no_trial_has_finished_those_that_are_not_listed_count_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.commands.status.LISTED_TRIALS", 2)
    stored(folder, FAILED, FAILED, FAILED)
    assert "no trial of s has finished (3 failed)" in status()


@pytest.mark.parametrize(
    ("ended", "budget", "said"),
    [(1, 6, "1 of 6 trials ended"), (1, 1, "1 of 1 trial ended"), (4, 2, "study s: 4 trials ended")],
)
def test_the_trials_that_have_ended_are_counted_in_words_that_fit(
    folder: Path, ended: int, budget: int, said: str
) -> None:
    stored(folder, *[complete(0.5)] * ended, budget=budget)
    assert said in status()
