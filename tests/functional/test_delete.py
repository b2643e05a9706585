"""`sweeper delete`, as it is used: it shows, asks, and refuses where it must."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.functional.program import environment, sweeper
from tests.functional.terminal import answered
from tests.functional.test_steering import wait_for

pytestmark = pytest.mark.sweeps

SPACE = {
    "study": "s",
    "engine": {"name": "simulate", "epoch": 1},
    "dataset": {"path": "nowhere"},
    "budget": {"trials": 3, "epochs": 2},
    "search": {"backbone": "resnet10t", "optimizer": {"name": "adamw", "lr": {"float": [1e-3, 1e-2]}}},
}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    ran = sweeper("run", "space.yaml", "--no-report", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    return tmp_path


def test_a_study_is_deleted_once_somebody_has_agreed(finished: Path) -> None:
    piped = sweeper("delete", "s", folder=finished)
    assert piped.returncode == 2
    assert "sweeper delete s --yes" in piped.stderr
    assert "3 trials (3 complete) in optuna.db" in piped.stdout

    code, screen = answered(["delete", "s"], [("delete it?", "n")], finished)
    assert (code, "nothing was deleted" in screen) == (1, True)
    assert "s " in sweeper("list", folder=finished).stdout

    code, screen = answered(["delete", "s"], [("delete it?", "y")], finished)
    assert (code, "study s is deleted" in screen) == (0, True)
    assert sweeper("list", folder=finished).stdout.startswith("no study yet")
    missing = sweeper("delete", "s", "--yes", folder=finished)
    assert missing.returncode == 4
    assert "no study is called s" in missing.stderr

    [command] = [line.strip() for line in screen.splitlines() if line.strip().startswith("mlflow gc")]
    emptied = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)], cwd=finished, env=environment(), capture_output=True, check=False
    )
    assert emptied.returncode == 0, emptied.stderr.decode()


def test_a_running_study_is_not_deleted(tmp_path: Path) -> None:
    space = {
        **SPACE,
        "engine": "local",
        "dataset": {"builtin": "digits", "limit": {"train_images": 300, "val_images": 60}},
        "budget": {"trials": 500, "epochs": 2},
        "search": {"backbone": "test_resnet", "image_size": 16, "optimizer": {"name": "adamw", "lr": 1e-3}},
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    command = [sys.executable, "-m", "sweeper", "run", "space.yaml", "--no-report", "--set", "budget.repeats=true"]
    with (
        (tmp_path / "log.txt").open("w") as log,
        subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=log, stderr=log) as process,
    ):
        wait_for(tmp_path, "trial 0 started")
        refused = sweeper("delete", "s", "--yes", folder=tmp_path)
        process.kill()
    assert refused.returncode == 4
    assert "the study s is running, and is not deleted; first: sweeper stop s" in refused.stderr
    deleted = sweeper("delete", "s", "--yes", "--keep-runs", folder=tmp_path)
    assert deleted.returncode == 0, deleted.stderr
    assert "mlflow gc" not in deleted.stdout
