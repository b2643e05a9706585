"""A network is taught by the best trial of a study and by its export, as a user does it; a run is killed meanwhile."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import yaml

from sweeper.paths import Workspace
from sweeper.scores.predictions import read_predictions, write_predictions
from tests.functional.program import environment, sweeper
from tests.pictures import write_class_folders

pytestmark = pytest.mark.sweeps

COUNTS = {"train/cat": 24, "train/dog": 24, "val/cat": 8, "val/dog": 8}
SPACE: dict[str, Any] = {
    "dataset": {"path": "images"},
    "budget": {"trials": 1, "epochs": 12},
    "pruner": "none",
    "device": "cpu",
    "search": {
        "backbone": "test_resnet",
        "image_size": 16,
        "batch_size": 16,
        "optimizer": {"name": "adam", "lr": 1e-3},
    },
}
TAUGHT: dict[str, Any] = {
    "search.teacher": {"name": "study:big/best", "temperature": 2.0, "weight": 0.8},
    "search.image_size": 8,
}


def write_space(folder: Path, study: str, **changes: Any) -> None:
    search = {**SPACE["search"], **{key.removeprefix("search."): value for key, value in changes.items()}}
    (folder / f"{study}.yaml").write_text(yaml.safe_dump({**SPACE, "study": study, "search": search}))


def killed_after_an_epoch(folder: Path, space: str) -> None:
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "sweeper", "run", space]
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while " epoch 2/" not in (said := (folder / "log").read_text()) and time.monotonic() < deadline:
        assert process.poll() is None, said
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def curve(folder: Path, study: str, teacher: str = "study:big/best") -> list[float]:
    """Return the training losses that MLflow has of the one trial of a study."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`sweeper.trial` = '0'")
    assert run.data.tags["sweeper.teacher"].startswith(f"{teacher} = trial ")
    assert run.data.params["teacher.weight"] == "0.8"
    return [point.value for point in client.get_metric_history(run.info.run_id, "train/loss")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that has ended, and its export."""
    folder = tmp_path_factory.mktemp("work")
    write_class_folders(folder / "images", COUNTS)
    write_space(folder, "big")
    for command in (("run", "big.yaml"), ("best", "big", "--export")):
        done = sweeper(*command, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_a_taught_trial_goes_on_after_a_kill_to_the_same_numbers(folder: Path) -> None:
    for study in ("whole", "cut"):
        write_space(folder, study, **TAUGHT)
    killed_after_an_epoch(folder, "cut.yaml")
    for study in ("whole", "cut"):
        done = sweeper("run", f"{study}.yaml", folder=folder)
        assert done.returncode == 0, done.stderr
        assert "teacher   study:big/best = trial 0" in done.stdout
    whole = curve(folder, "whole")
    assert whole == curve(folder, "cut")
    assert len(whole) == SPACE["budget"]["epochs"]


def test_the_ensemble_of_a_study_teaches_and_a_kill_changes_no_digit(folder: Path) -> None:
    write_space(folder, "team", **{"search.optimizer": {"name": "adam", "lr": {"choice": [1e-3, 1e-4]}}})
    done = sweeper("run", "team.yaml", "--trials", "2", "--epochs", "1", folder=folder)
    assert done.returncode == 0, done.stderr
    let_members_complete_each_other(folder, "team")
    by_team = {**TAUGHT, "search.teacher": {**TAUGHT["search.teacher"], "name": "study:team/ensemble"}}
    for study in ("whole-by-team", "cut-by-team"):
        write_space(folder, study, **by_team)
    killed_after_an_epoch(folder, "cut-by-team.yaml")
    for study in ("whole-by-team", "cut-by-team"):
        done = sweeper("run", f"{study}.yaml", folder=folder)
        assert done.returncode == 0, done.stderr
        assert re.search(r"teacher   study:team/ensemble = trial \d \(MLflow run \w{32}\) and trial \d", done.stdout)
    whole = curve(folder, "whole-by-team", "study:team/ensemble")
    assert whole == curve(folder, "cut-by-team", "study:team/ensemble")
    assert len(whole) == SPACE["budget"]["epochs"]


def let_members_complete_each_other(folder: Path, study: str) -> None:
    """Put into MLflow that one trial knows the dogs and the other the cats: together they are right."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    for trial in (0, 1):
        (run,) = client.search_runs([experiment.experiment_id], f"tags.`sweeper.trial` = '{trial}'")
        (file,) = Path(run.info.artifact_uri.removeprefix("file://")).glob("predictions/*.npz")
        found = read_predictions(file)
        knows = found.labels == trial
        sure = np.where(knows, 0.9, 0.4)  # and where it errs it is not sure
        classes = np.stack([np.where(knows, found.labels, 1 - found.labels), 1 - found.labels], axis=1)
        classes[:, 1] = 1 - classes[:, 0]
        shares = np.stack([np.where(knows, 0.9, 0.6), np.where(knows, 0.1, 0.4)], axis=1).astype(np.float32)
        write_predictions(file, replace(found, classes=classes, probabilities=shares, true=sure.astype(np.float32)))


def test_an_export_teaches_and_must_stay_what_it_was(folder: Path) -> None:
    write_space(folder, "small", **{**TAUGHT, "search.teacher": "exports/big"})
    done = sweeper("run", "small.yaml", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "teacher   exports/big: test_resnet on images of 16 pixels" in done.stdout
    again = sweeper("reproduce", "small/0", folder=folder)
    assert "same to the last digit" in again.stdout, again.stderr
    with (folder / "exports" / "big" / "model.safetensors").open("ab") as file:
        file.write(b" ")
    changed = sweeper("run", "small.yaml", "--set", "budget.trials=2", folder=folder)
    assert changed.returncode == 4
    assert "the weights of exports/big have changed since the study small began" in changed.stderr


def test_a_teacher_of_other_classes_is_refused_before_an_image_is_decoded(folder: Path) -> None:
    write_class_folders(folder / "others", {name.replace("cat", "ant"): count for name, count in COUNTS.items()})
    write_space(folder, "others", **TAUGHT)
    before = sorted(Workspace(folder).cache.rglob("*.npy"))
    done = sweeper("run", "others.yaml", "--set", "dataset.path=others", folder=folder)
    assert done.returncode == 2
    assert "study:big/best does not: its class 1 is cat, and that of the images is ant" in done.stderr
    assert sorted(Workspace(folder).cache.rglob("*.npy")) == before
