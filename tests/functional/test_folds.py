"""A cross-validated study by the real program: killed and continued, recorded, shown, exported."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from tests.functional.chaos import PATIENCE_S, STUDY, TIMES, Sandbox, end_group, table
from tests.functional.program import workers_of

pytestmark = pytest.mark.sweeps

FOLDS, TRIALS = 3, 3
OTHER_TRIALS = ("trial-0001", "trial-0002")
MOMENTS = (
    ("trial-0000/fold-2/checkpoint.pt", "group"),  # within a fold
    ("trial-0001/fold-1/outcome.json", "worker"),  # between two
    ("trial-0001/refit/checkpoint.pt", "group"),  # when all folds have ended
    ("trial-0002/fold-3/checkpoint.pt", "driver"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, created: Path) -> Sandbox:
    """A study that nothing has interrupted."""
    sandbox = sandbox_in(tmp_path_factory.mktemp("whole"), created)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


def sandbox_in(root: Path, created: Path) -> Sandbox:
    shutil.copy(created, root / created.name)
    sandbox = Sandbox.make(root, budget={"trials": TRIALS, "epochs": 4}, pruner={"name": "median", "startup_trials": 1})
    sandbox.options = ("--folds", str(FOLDS), "--no-report")
    return sandbox


def runs_of(sandbox: Sandbox) -> dict[str, Run]:
    client = mlflow.MlflowClient(sandbox.tracking_uri)
    experiment = client.get_experiment_by_name(STUDY)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert set(Counter(run.info.run_name for run in runs).values()) == {1}
    return {run.info.run_name: run for run in runs}


def points_of(sandbox: Sandbox) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return step and value of every point that does not hang on the clock, by run and metric."""
    client = mlflow.MlflowClient(sandbox.tracking_uri)
    return {
        name: {
            key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
            if not key.startswith(TIMES)
        }
        for name, run in runs_of(sandbox).items()
    }


def test_a_study_killed_within_and_between_folds_ends_as_one_that_nothing_has_interrupted(
    whole: Sandbox, tmp_path: Path, created: Path
) -> None:
    broken = sandbox_in(tmp_path, created)
    process = broken.start()
    killed = 0
    try:
        for file, victim in MOMENTS:
            if not awaited(broken, process, file):
                continue  # the trial was pruned before
            killed += 1
            if victim == "group":
                end_group(process)
            else:
                for worker in workers_of(process.pid) if victim == "worker" else [process]:
                    worker.kill()
            if victim != "worker":
                process.wait(PATIENCE_S)
                process = broken.start()
        assert process.wait(PATIENCE_S) == 0, broken.said()
    finally:
        end_group(process)
    assert killed >= 3, broken.said()
    assert table(broken) == table(whole)
    assert points_of(broken) == points_of(whole)


def awaited(sandbox: Sandbox, process: Any, file: str) -> bool:
    """Wait for a file of the study; False where the program ends, or a later trial begins, without it."""
    folder, deadline = sandbox.workspace.study(STUDY).path, time.monotonic() + PATIENCE_S
    trial = int(file[6:10])
    while process.poll() is None:
        if (folder / file).exists():
            return True
        if (folder / f"trial-{trial + 1:04d}").exists():
            return False
        assert time.monotonic() < deadline, sandbox.said()
        time.sleep(0.002)
    return False


def test_a_trial_has_a_run_for_each_fold_below_it_and_one_confusion_matrix_over_all_images(whole: Sandbox) -> None:
    runs, client = runs_of(whole), mlflow.MlflowClient(whole.tracking_uri)
    trial = runs["trial-0000"]
    folds = [runs[f"trial-0000-fold-{number}"] for number in range(1, FOLDS + 1)]
    assert {run.data.tags["mlflow.parentRunId"] for run in folds} == {trial.info.run_id}
    assert {run.info.status for run in folds} == {"FINISHED"}
    accuracies = [point.value for point in client.get_metric_history(trial.info.run_id, "fold/val/accuracy")]
    for run, accuracy in zip(folds, accuracies, strict=True):
        curve = client.get_metric_history(run.info.run_id, "val/accuracy")
        assert [point.step for point in curve] == [1, 2, 3, 4]
        assert max(point.value for point in curve) == accuracy
    assert trial.data.metrics["best/val/accuracy"] == pytest.approx(sum(accuracies) / FOLDS)
    matrix = Path(client.download_artifacts(trial.info.run_id, "confusion/best.csv")).read_text().splitlines()
    cells = [int(cell) for line in matrix[1:] for cell in line.split(",")[1:]]
    assert sum(cells) == 80  # 48 training and 32 validation images


def test_a_worker_without_a_trial_trains_folds_of_another_workers_trial_to_the_same_digits(
    whole: Sandbox, tmp_path: Path, created: Path
) -> None:
    together = sandbox_in(tmp_path, created)
    together.options = (*together.options, "--trials", "1", "--workers", "2")
    process, trial = together.start(), together.workspace.study(STUDY).trial(0)
    try:
        deadline, ahead = time.monotonic() + PATIENCE_S, False
        while process.poll() is None and time.monotonic() < deadline:
            ahead = ahead or (trial.fold(3).spec.exists() and not trial.fold(2).outcome.exists())
            time.sleep(0.002)
        assert process.returncode == 0, together.said()
    finally:
        end_group(process)
    assert ahead
    alone, beside = (sandbox.rows()[0].outcome for sandbox in (whole, together))
    assert alone is not None
    assert beside is not None
    assert [(fold.value, fold.best_epoch) for fold in beside.folds] == [
        (fold.value, fold.best_epoch) for fold in alone.folds
    ]
    assert set(runs_of(together)) == {name for name in runs_of(whole) if not name.startswith(OTHER_TRIALS)}


def test_a_study_is_not_continued_with_other_folds(whole: Sandbox) -> None:
    before = whole.said()
    assert whole.run("run", "space.yaml", "--folds", "4") != 0
    assert "was started with other settings of: dataset" in whole.said().removeprefix(before)
    assert whole.run("run", "space.yaml") != 0


def test_the_winner_is_exported_with_the_accuracy_of_images_not_seen_and_says_how_it_was_trained(
    whole: Sandbox,
) -> None:
    assert whole.run("best", STUDY, "--export", "--no-register") == 0, whole.said()
    assert f"over {FOLDS} folds" in whole.said()
    config = json.loads((whole.root / f"exports/{STUDY}/config.json").read_text())
    winner = next(row for row in whole.rows() if row.number == config["lineage"]["trial"])
    assert winner.outcome is not None
    assert winner.outcome.refit is not None
    assert config["metrics"]["val/accuracy"] == pytest.approx(winner.value)
    assert config["cross_validation"]["folds"] == FOLDS
    assert config["cross_validation"]["images"] == 80
    assert config["lineage"]["best_epoch"] == winner.outcome.refit.epochs
    card = (whole.root / f"exports/{STUDY}/README.md").read_text()
    assert f"in {FOLDS}-fold cross-validation" in card
    assert "trained in the same way on all 80 images" in card


def test_what_has_seen_all_images_is_not_judged_by_them_and_is_not_gone_on_from(whole: Sandbox) -> None:
    for command, rule in (
        (("evaluate", STUDY, "--split", "val"), "its weights have seen all images but the test split"),
        (("best", STUDY, "--export", "--soup"), "its networks have seen all images that a soup or an ensemble"),
        (("train", "--from", f"{STUDY}/best", "--epochs", "2"), "nothing would be left to judge a further training by"),
    ):
        before = whole.said()
        assert whole.run(*command) != 0
        assert rule in whole.said().removeprefix(before)


def test_labels_are_doubted_by_what_was_said_of_images_not_seen_and_nothing_is_trained(whole: Sandbox) -> None:
    before = whole.said()
    assert whole.run("data", "label-errors", STUDY) == 0, whole.said()
    said = whole.said().removeprefix(before)
    assert "of 80 labels are likely wrong" in said
    best = max(row.value for row in whole.rows() if row.value is not None and row.epochs == FOLDS)
    judged = float(said.partition("not trained on: ")[2].partition(";")[0])
    assert judged == pytest.approx(best, abs=0.02)  # folds of 26 and 27 images count alike in the mean


def test_a_trial_is_cross_validated_again_by_reproduce_and_comes_out_the_same(whole: Sandbox) -> None:
    assert whole.run("reproduce", f"{STUDY}/0") == 0, whole.said()
    assert f"in all {FOLDS} folds" in whole.said()
