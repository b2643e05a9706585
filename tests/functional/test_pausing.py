"""Trials that pause and go on: the real program, killed too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sweeper.results import TrialState
from tests.functional.chaos import STUDY, Sandbox, Storm, check, require_tidy

pytestmark = pytest.mark.sweeps

SPACE = {
    "budget": {"trials": 5, "epochs": 5},
    "sampler": "random",
    "pruner": {"name": "promote", "rungs": [1, 3], "keep": 0.5},
}


def made(root: Path, created: Path, **changes: object) -> Sandbox:
    sandbox = Sandbox.make(root, **{**SPACE, **changes})
    shutil.copy(created, sandbox.workspace.mlflow_database)
    return sandbox


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, created: Path) -> Sandbox:
    sandbox = made(tmp_path_factory.mktemp("undisturbed"), created)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


def test_the_best_go_on_to_the_end_as_if_they_had_never_paused(
    undisturbed: Sandbox, tmp_path: Path, created: Path
) -> None:
    rows = undisturbed.rows()
    assert {row.state for row in rows} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert {row.epochs for row in rows} == {1, 3, 5}
    assert all(row.state is TrialState.COMPLETE for row in rows if row.epochs == 5)
    assert "paused after epoch 1" in undisturbed.said()
    assert "goes on" in undisturbed.said()
    require_tidy(undisturbed)
    whole = made(tmp_path, created, pruner="none")
    assert whole.run() == 0, whole.said()
    value = {row.number: row.value for row in whole.rows()}
    for row in rows:
        if row.state is TrialState.COMPLETE:
            assert row.value == value[row.number]
            assert row.config == whole.rows()[row.number].config


def test_a_study_with_pauses_that_is_killed_equals_one_that_was_not(
    undisturbed: Sandbox, tmp_path: Path, created: Path
) -> None:
    sandbox = made(tmp_path, created)
    storm = Storm(sandbox, seed=3)
    storm.rage(3, moments=("mid-epoch", "checkpoint", "logging"))
    assert sandbox.run("status", STUDY) == 0
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, storm.seen)


def test_of_several_objectives_the_front_goes_on(tmp_path: Path, created: Path) -> None:
    sandbox = made(
        tmp_path,
        created,
        objectives=["val/accuracy", "train_seconds", "latency_ms"],
        sampler={"name": "tpe", "startup_trials": 2},
        budget={"trials": 6, "epochs": 4},
        pruner={"name": "promote", "rungs": [1], "keep": 0.5},
    )
    assert sandbox.run() == 0, sandbox.said()
    rows = sandbox.rows()
    assert {row.epochs for row in rows} == {1, 4}
    assert sum(row.epochs == 4 for row in rows) >= 3  # half of six, and whoever was among the best for a moment
    assert {row.state for row in rows if row.epochs == 1} == {TrialState.PRUNED}
    assert all("latency_ms" in row.outcome.costs for row in rows if row.outcome is not None)
