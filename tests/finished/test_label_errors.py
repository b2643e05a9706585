from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError
from sweeper.finished.label_errors import _known_classes, find_label_errors
from sweeper.paths import Workspace
from sweeper.results import TrialRow, TrialState

SEARCH = {"backbone": "test_resnet", "image_size": 8, "batch_size": 16, "optimizer": {"name": "adam", "lr": 0.01}}
ROW = TrialRow(
    number=0,
    state=TrialState.COMPLETE,
    value=1.0,
    best_epoch=1,
    epochs=6,
    seconds=1,
    ended_ms=1,
    params={},
    config_json=TrialConfig.model_validate(SEARCH).model_dump_json(),
    reason=None,
)
PLANTED = ("train/red/0005.png", "train/blue/0009.png")


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    """A study on red, green and blue squares with noise, two of them in the folder of another colour."""
    random = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 10)):
        for place, name in enumerate(("red", "green", "blue")):
            for number in range(count):
                path = tmp_path / "d" / split / name / f"{number:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                color = 1 if f"{split}/{name}/{path.name}" in PLANTED else place
                pixels = random.integers(0, 60, (8, 8, 3), dtype=np.uint8)
                pixels[:, :, color] += 190
                Image.fromarray(pixels).save(path)
    space: dict[str, Any] = {"study": "s", "dataset": {"path": str(tmp_path / "d")}, "budget": {"epochs": 6}}
    space |= {"objective": {"metric": "val/loss"}, "search": SEARCH}  # the surest epoch of those that are all right
    return SweepConfig.model_validate(space)


def test_planted_label_errors_are_found_by_training_without_them_interrupted_or_not(
    tmp_path: Path, sweep: SweepConfig
) -> None:
    workspace, cpu = Workspace(tmp_path), torch.device("cpu")

    def interrupt(done: int, total: int) -> None:
        if done == 8:  # the second epoch of the second fold
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_label_errors(workspace, sweep, ROW, folds=5, device=cpu, progress=interrupt)
    told: list[tuple[int, int]] = []
    found = find_label_errors(
        workspace, sweep, ROW, folds=5, device=cpu, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(done, 30) for done in range(7, 31)]  # the first fold is not trained again
    assert not list(workspace.study("s").path.glob("folds-*/"))
    assert {candidate.path for candidate in found.candidates[:2]} == set(PLANTED)
    assert [candidate.suggested for candidate in found.candidates[:2]] == ["green", "green"]
    assert found.accuracy > 0.9


def test_more_folds_than_images_are_refused_before_anything_is_trained(tmp_path: Path, sweep: SweepConfig) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(
        ConfigError, match=r"--folds: should be at most 120 for the training .*, got 121: .*; take fewer"
    ):
        find_label_errors(workspace, sweep, ROW, folds=121, device=torch.device("cpu"))
    grouped = sweep.dataset.model_copy(update={"group_from": "/(red|green|blue)/"})
    with pytest.raises(ConfigError, match=r"--folds: should be at most 3 for the training .*, got 4: .*; take fewer"):
        find_label_errors(
            workspace, sweep.model_copy(update={"dataset": grouped}), ROW, folds=4, device=torch.device("cpu")
        )
    assert not workspace.study("s").path.exists()


def test_an_image_whose_class_lies_in_one_fold_is_judged_by_a_network_that_cannot_know_it() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    parts = [np.array([0, 3, 4]), np.array([1, 2, 5])]
    assert _known_classes(labels, parts).tolist() == [True, True, True, False, False, False]
