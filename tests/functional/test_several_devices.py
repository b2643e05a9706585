"""`devices_per_trial`: the real program with two processes a trial on the CPU, beside one, and killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.functional.chaos import STUDY, Sandbox, Storm, check, recorded, require_tidy

pytestmark = pytest.mark.sweeps

SPACE = {"budget": {"trials": 3, "epochs": 3}, "devices_per_trial": 2}
TOLERANCE = 1e-4
"""Relative, of losses after three epochs: sums are taken in another order, and training makes more of rounding."""


def made(root: Path, created: Path, **changes: object) -> Sandbox:
    sandbox = Sandbox.make(root, **{**SPACE, **changes})
    shutil.copy(created, sandbox.workspace.mlflow_database)
    return sandbox


def test_a_trial_on_two_devices_has_the_metrics_of_one_on_one(tmp_path: Path, created: Path) -> None:
    """Without batch normalisation, which is synchronised on GPUs alone, and without dropout, whose masks differ."""
    search = {
        "backbone": "test_vit",
        "image_size": 16,
        "batch_size": 13,  # shares of 7 and 6 images, and a last batch of 9
        "gradient_clip": 1.0,
        "label_smoothing": 0.1,
        "augment": {"flip": True, "crop_padding": 2, "mixup": 0.4},
        "optimizer": {"name": "adamw", "lr": {"float": [1e-4, 1e-3], "log": True}},
    }
    found = []
    for many in (1, 2):
        sandbox = made(tmp_path / str(many), created, search=search, devices_per_trial=many, pruner="none")
        assert sandbox.run() == 0, sandbox.said()
        require_tidy(sandbox)
        found.append(recorded(sandbox))
    alone, together = found
    assert "and 1 more for each trial" in sandbox.said()
    for name in (f"trial-{number:04d}" for number in range(3)):
        for key in ("train/loss", "val/loss", "train/accuracy", "val/accuracy", "val/f1"):
            ours, theirs = ([value for _, value, _ in run[name][key]] for run in (together, alone))
            assert ours == pytest.approx(theirs, rel=TOLERANCE), (name, key)
        assert {value for _, value, _ in together[name]["micro_batch_size"]} == {7.0}


def test_a_study_on_two_devices_that_is_killed_equals_one_that_was_not(tmp_path: Path, created: Path) -> None:
    undisturbed = made(tmp_path / "undisturbed", created)
    assert undisturbed.run() == 0, undisturbed.said()
    sandbox = made(tmp_path / "killed", created)
    storm = Storm(sandbox, seed=5)
    storm.rage(3, moments=("mid-epoch", "checkpoint"))
    assert sandbox.run("status", STUDY) == 0
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, storm.seen)
