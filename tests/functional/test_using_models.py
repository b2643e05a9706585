"""`predict` and `evaluate` after a real study, as a user types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from tests.functional.program import sweeper

pytestmark = pytest.mark.sweeps

SPACE = """
study: blots
dataset: {path: images}
budget: {trials: 1, epochs: 2}
device: cpu
search: {backbone: test_resnet, image_size: 8, batch_size: 8}
"""


SPLITS = {"train": 12, "val": 8, "test": 8}  # images a class


def write_blots(root: Path, counts: dict[str, int], seed: int = 0) -> None:
    """Write images whose class is the brighter half; other ones for another seed."""
    random = np.random.default_rng(seed)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 100, (8, 8, 3), dtype=np.uint8)
            half = slice(0, 4) if folder.endswith("left") else slice(4, 8)
            pixels[:, half] += 120
            Image.fromarray(pixels).save(root / folder / f"{number:04d}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study `blots` has been run and its winner exported."""
    folder = tmp_path_factory.mktemp("work")
    counts = {f"{split}/{side}": count for split, count in SPLITS.items() for side in ("left", "right")}
    write_blots(folder / "images", counts)
    (folder / "space.yaml").write_text(SPACE)
    for command in (["run", "space.yaml"], ["best", "blots", "--export"]):
        done = sweeper(*command, folder=folder)
        assert done.returncode == 0, done.stderr + done.stdout
    return folder


def test_predictions_on_the_validation_files_have_the_exported_accuracy(folder: Path) -> None:
    done = sweeper("predict", "blots", "images/val", "--csv", "out.csv", "--sort-into", "sorted", folder=folder)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((folder / "out.csv").read_text().splitlines()))
    right = [Path(row["path"]).parent.name == row["class"] for row in rows]
    logged = json.loads((folder / "exports/blots/verification.json").read_text())["weights"]["accuracy"]
    assert len(rows) == 16
    assert np.mean(right) == pytest.approx(logged)
    copies = list((folder / "sorted").rglob("*.png"))
    assert len(copies) == 16
    assert {path.parent.name for path in copies} == {row["class"] for row in rows}


def test_a_model_that_is_not_there_is_answered_with_the_command_that_makes_it(folder: Path) -> None:
    kept = (folder / "exports").rename(folder / "kept")
    try:
        refused = sweeper("predict", "blots/0", "images/val", folder=folder)
    finally:
        kept.rename(folder / "exports")
    assert refused.returncode == 4
    assert "sweeper best blots/0 --export" in refused.stderr


@pytest.mark.parametrize("name", ["other", "other/0"])
def test_a_model_of_no_study_is_answered_with_those_that_there_are(folder: Path, name: str) -> None:
    refused = sweeper("predict", name, "images/val", folder=folder)
    assert refused.returncode == 4
    assert "other is neither the folder of an export nor a study: no study is called other; the studies are: blots" in (
        " ".join(refused.stderr.split())
    )
    assert "--export" not in refused.stderr


def test_a_study_on_its_validation_split_has_the_logged_scores(folder: Path) -> None:
    done = sweeper("evaluate", "blots", "--split", "val", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    logged = run_of(folder).metrics
    for name, value in found["metrics"].items():
        assert value == pytest.approx(logged[f"best/val/{name}"])
    assert [row["images"] for row in found["classes"]] == [8, 8]


def test_every_look_at_the_test_split_is_logged_and_counted(folder: Path) -> None:
    first = sweeper("evaluate", "blots", folder=folder)
    assert first.returncode == 0, first.stderr
    assert "test/f1" in first.stdout
    again = sweeper("evaluate", "blots", "--data", "images/test", "--json", folder=folder)
    assert again.returncode == 0, again.stderr
    run = run_of(folder)
    for name, value in json.loads(again.stdout)["metrics"].items():
        assert value == pytest.approx(run.metrics[f"test/{name}"])
    assert run.tags["sweeper.test_looks"] == "2"
    assert len(run.tags["sweeper.test_looked_at"].split()) == 2
    written = {path.name for path in (folder / "evaluations/blots/test").glob("[!.]*")}
    assert written == {"confusion.csv", "confusion.png", "classes.csv", "scores.json"}


def run_of(folder: Path) -> mlflow.entities.RunData:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("blots")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'trial-0000'")
    return run.data


def test_an_export_is_evaluated_on_named_images_whose_classes_it_knows(folder: Path) -> None:
    done = sweeper("evaluate", "exports/blots", "--data", "images", "--split", "val", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    logged = json.loads((folder / "exports/blots/verification.json").read_text())["weights"]["accuracy"]
    assert json.loads(done.stdout)["metrics"]["accuracy"] == pytest.approx(logged)


def test_labels_are_judged_by_the_winner_trained_on_folds(folder: Path) -> None:
    done = sweeper("data", "label-errors", "blots", "--folds", "2", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "of 24 labels are likely wrong" in done.stdout
    assert (folder / "label_errors.csv").read_text().startswith("path,class,score,method,suggested_label\n")
    assert (folder / "label_errors.png").exists()
