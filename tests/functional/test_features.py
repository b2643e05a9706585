"""A sweep of heads on a frozen backbone, by the real program: killed, continued, exported and checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.functional.chaos import SPACE, STUDY, Sandbox, Storm, check


def heads(root: Path, created: Path, fuse: int) -> Sandbox:
    """Make a sandbox whose trials train heads on features of pretrained weights."""
    torch.manual_seed(0)
    weights = timm.create_model("test_resnet", num_classes=0).state_dict()
    search: dict[str, Any] = {
        **SPACE["search"],
        "trainable": "head",
        "pretrained": "weights.safetensors",
        "head": {"hidden": {"choice": [[], [8]]}, "dropout": {"float": [0.0, 0.4]}},
        "augment": {"flip": True, "crop_padding": 1},
    }
    if fuse > 1:  # one shape, so that the trials of a group are trained at once
        head = {"hidden": [8], "dropout": {"float": [0.0, 0.4]}}
        search |= {"head": head, "batch_size": 8, "optimizer": {"name": "adam", "lr": {"float": [1e-3, 1e-1]}}}
    sandbox = Sandbox.make(root, budget={"trials": 4, "epochs": 5}, search=search, features={"views": 2, "fuse": fuse})
    save_file(weights, root / "weights.safetensors")
    shutil.copy(created, sandbox.workspace.mlflow_database)
    return sandbox


@pytest.mark.slow
@pytest.mark.parametrize("fuse", [1, 2], ids=["one by one", "together"])
def test_a_sweep_of_heads_killed_three_times_equals_one_that_was_not_and_its_export_is_confirmed(
    tmp_path: Path, created: Path, fuse: int
) -> None:
    whole, battered = (heads(tmp_path / name, created, fuse) for name in ("whole", "battered"))
    assert whole.run() == 0, whole.said()
    storm = Storm(battered, seed=2)
    storm.rage(3, moments=("mid-epoch", "checkpoint", "outcome"))
    assert battered.run() == 0, battered.said()
    check(battered, whole, storm.seen)
    assert all(row.outcome is not None and row.outcome.on_features for row in battered.rows())
    assert len(list(battered.workspace.features.glob("*.npy"))) == 3  # validation images and two views
    assert "features of frozen backbones" in battered.said()
    assert battered.run("best", STUDY, "--export") == 0, battered.said()
    verified = json.loads((battered.workspace.export(STUDY) / "verification.json").read_text())
    assert verified["weights"]["accuracy"] == verified["weights"]["logged"]
    assert "on stored features" in verified["weights"]["why"]
    assert battered.run("doctor", STUDY) == 0, battered.said()
