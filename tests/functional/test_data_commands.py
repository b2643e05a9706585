"""From coded labels in a CSV file to lists, a study on them, and one without what was listed as wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from tests.functional.answer import Ask, ask
from tests.functional.program import sweeper
from tests.pictures import write_class_folders

pytestmark = pytest.mark.sweeps

__all__ = ["ask"]  # a fixture

SPACE = """
study: sports
dataset: DATASET
budget: {trials: 1, epochs: 1}
device: cpu
search: {backbone: test_resnet, image_size: 8, batch_size: 8}
"""


def write_contest(root: Path) -> None:
    """Write images in one folder, a CSV of names without extension and numbers, and the classes of the numbers."""
    write_class_folders(root, {"pictures": 20}, size=8)
    rows = "".join(f"{number:04d},{number % 2}\n" for number in range(20))
    (root / "labels.csv").write_text(f"image_id,target\n{rows}")
    (root / "classes.json").write_text(json.dumps({"curling": 0, "judo": 1}))


def test_a_study_runs_on_drawn_lists_and_without_excluded_images(ask: Ask, tmp_path: Path) -> None:
    write_contest(tmp_path)
    options = ("--csv-images", "pictures", "--extension", ".png", "--class-codes", "classes.json")
    done = ask("data", "split", "labels.csv", "--val-fraction", "0.3", "--to", "lists", *options)
    assert done.code == 0, done.err
    section = next(line for line in done.out.splitlines() if "dataset:" in line).split("dataset: ", 1)[1]
    first = (tmp_path / "lists/train.csv").read_text().splitlines()[1].split(",")[0]
    (tmp_path / "wrong.txt").write_text(f"{first}\n")
    (tmp_path / "space.yaml").write_text(SPACE.replace("DATASET", section))
    ran = sweeper("run", "space.yaml", "--set", "dataset.exclude=wrong.txt", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    card = json.loads(Workspace(tmp_path).study("sports").card.read_text())
    assert card["dataset"]["profile"] == {"images": {"train": 13, "val": 6}, "classes": 2}
    store = StudyStore.load(f"sqlite:///{tmp_path / 'optuna.db'}", "sports")
    assert store.sweep.dataset.exclude == "wrong.txt"
    again = ask("data", "split", "labels.csv", "--to", "lists", *options)
    assert again.code == 3
    assert "--force" in again.err


def test_fractions_that_leave_nothing_to_train_on_are_refused(ask: Ask, tmp_path: Path) -> None:
    write_contest(tmp_path)
    for fractions in (("--val-fraction", "1"), ("--train-fraction", "0.5", "--val-fraction", "0.2")):
        refused = ask("data", "split", "labels.csv", *fractions)
        assert refused.code == 2
        assert "make 1 together" in refused.err
    assert not (tmp_path / "labels-splits").exists()
