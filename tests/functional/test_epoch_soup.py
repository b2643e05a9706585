"""`search.epoch_soup`: the real program, paused, killed, recorded and exported with averages of epochs."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import mlflow
import pytest

from sweeper.display.answers import BestAnswer
from sweeper.results import TrialState
from tests.functional.chaos import SPACE, STUDY, Sandbox, Storm, check, require_tidy
from tests.functional.program import sweeper

pytestmark = pytest.mark.sweeps

METRIC = "val/loss"  # which averages of such noisy epochs lower on every machine
PROMOTE = {"name": "promote", "rungs": [1, 3], "keep": 0.5}


def made(root: Path, created: Path) -> Sandbox:
    search = {**copy.deepcopy(SPACE["search"]), "epoch_soup": {"int": [2, 4]}, "optimizer": {"name": "sgd", "lr": 0.2}}
    budget = {"trials": 5, "epochs": 5}
    data = {"builtin": "digits", "limit": {"train_images": 256, "val_images": 128}}
    judged = {"objective": {"metric": METRIC}, "sampler": "random", "pruner": PROMOTE}
    sandbox = Sandbox.make(root, dataset=data, budget=budget, search=search, **judged)
    shutil.copy(created, sandbox.workspace.mlflow_database)
    return sandbox


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, created: Path) -> Sandbox:
    sandbox = made(tmp_path_factory.mktemp("undisturbed"), created)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


def test_complete_trials_have_averages_and_all_that_was_kept_for_them_is_gone(undisturbed: Sandbox) -> None:
    rows = undisturbed.rows()
    assert {row.state for row in rows} == {TrialState.COMPLETE, TrialState.PRUNED}
    for row in rows:
        assert row.outcome is not None
        assert (row.outcome.soup is not None) is (row.state is TrialState.COMPLETE)
    assert any(row.averaged_epochs for row in rows)
    require_tidy(undisturbed)


def test_the_record_says_how_many_epochs_are_averaged_and_what_the_best_one_had(undisturbed: Sandbox) -> None:
    client = mlflow.MlflowClient(undisturbed.tracking_uri)
    experiment = client.get_experiment_by_name(STUDY)
    assert experiment is not None
    runs = {run.info.run_name: run.data for run in client.search_runs([experiment.experiment_id])}
    for row in undisturbed.rows():
        data, soup = runs[f"trial-{row.number:04d}"], row.outcome.soup if row.outcome else None
        if soup is None:
            assert "best/averaged_epochs" not in data.metrics
            continue
        assert data.metrics["best/averaged_epochs"] == len(soup.epochs)
        assert data.metrics["best/single_epoch_value"] == soup.best_epoch_value
        assert data.metrics[f"best/{METRIC}"] == row.value
        assert data.metrics[f"best/{METRIC}"] <= soup.best_epoch_value
        assert data.tags["sweeper.averaged_epochs"] == ", ".join(map(str, soup.epochs))


def test_an_export_is_of_the_average_and_says_so(undisturbed: Sandbox) -> None:
    row = next(row for row in undisturbed.rows() if row.averaged_epochs)
    named = f"the average of epochs {', '.join(map(str, sorted(row.averaged_epochs)))}"
    done = sweeper("best", STUDY, "--trial", str(row.number), "--export", folder=undisturbed.root)
    assert done.returncode == 0, done.stderr + done.stdout
    assert f"{row.value:.4f} in {named}" in " ".join(done.stdout.split())
    folder = next(path.parent for path in (undisturbed.root / "exports").rglob("config.json"))
    config = json.loads((folder / "config.json").read_text())
    assert config["lineage"]["averaged_epochs"] == list(row.averaged_epochs)
    assert config["metrics"][METRIC] == row.value
    card = (folder / "README.md").read_text()
    assert f"As logged for {named}" in card
    assert f"| weights of | {named} |" in card
    told = sweeper("best", STUDY, "--trial", str(row.number), "--json", folder=undisturbed.root)
    assert BestAnswer.model_validate_json(told.stdout).trial.averaged_epochs == list(row.averaged_epochs)


def test_a_study_with_averages_that_is_killed_equals_one_that_was_not(
    undisturbed: Sandbox, tmp_path: Path, created: Path
) -> None:
    sandbox = made(tmp_path, created)
    storm = Storm(sandbox, seed=5)
    storm.rage(3, moments=("mid-epoch", "checkpoint", "logging"))
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, storm.seen)
    soups = [[row.outcome and row.outcome.soup for row in each.rows()] for each in (sandbox, undisturbed)]
    assert soups[0] == soups[1]
