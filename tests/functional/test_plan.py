"""`sweeper plan` and `sweeper run --dry-run`, and what `run` refuses before it decodes anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.functional.program import sweeper

pytestmark = pytest.mark.sweeps

SPACE = {
    "study": "s",
    "dataset": {"builtin": "digits", "limit": {"train_images": 100, "val_images": 50}},
    "budget": {"trials": 3, "epochs": 2},
    "device": "cpu",
    "search": {"backbone": "test_resnet", "image_size": 16, "batch_size": {"choice": [8, 32]}}
    | {"weight_decay": {"float": [0, 0.1]}},
}

UNFIT = ("--set", "search.backbone=test_vit", "--set", "search.image_size=8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(SPACE))
    return tmp_path


def test_a_plan_is_shown_and_nothing_is_run(folder: Path) -> None:
    for command in (["plan", "space.yaml", "--workers", "2"], ["run", "space.yaml", "--dry-run", "--workers", "2"]):
        ran = sweeper(*command, folder=folder)
        assert ran.returncode == 0, ran.stderr
        assert "branches of the search space tried: all work" in ran.stdout
        assert "test_resnet" in ran.stdout
        assert "for 3 trials of 2 epochs of" in ran.stdout
        assert ", 2 at once" in ran.stdout
        *_, disk, energy = ran.stdout.splitlines()
        assert disk.endswith(" free")
        assert energy.startswith("energy: ")
    assert not (folder / "optuna.db").exists()
    assert not (folder / "mlflow.db").exists()


def test_a_script_gets_json_alone_and_an_exit_code(folder: Path) -> None:
    ran = sweeper("plan", "space.yaml", "--json", "--for", "1h", folder=folder)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert (answer["format"], answer["study"], answer["failures"]) == (1, "s", [])
    assert {network["batch_size"] for network in answer["networks"]} == {8, 32}
    assert answer["costs"]["limit_s"] == 3600
    wrong = sweeper("plan", "space.yaml", "--json", *UNFIT, folder=folder)
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["failures"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_a_device_that_is_not_there_is_refused_before_anything_is_decoded(folder: Path) -> None:
    ran = sweeper("run", "space.yaml", "--device", "cuda", folder=folder)
    assert ran.returncode == 2
    assert "device: cuda was asked for and torch sees no CUDA device here; use auto or cpu" in ran.stderr
    assert not (folder / ".sweeper").exists()
