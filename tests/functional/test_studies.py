"""The studies of docs/studies.md, each on generated images of the layout that its search space is for."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from PIL import Image

from sweeper.config.loading import load_sweep
from sweeper.config.sweep import SweepConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.prepare import prepare_images
from sweeper.modeling.backbones import create, feature_count
from sweeper.modeling.registry import load_model_files
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.search.suggest import suggest
from sweeper.study.preparation import image_sizes
from sweeper.training.conditions import Conditions
from sweeper.training.inputs import TrialData
from sweeper.training.trainer import train
from tests.functional.answer import Ask, ask
from tests.functional.program import REPOSITORY
from tests.functional.test_docs import SPACES

__all__ = ["ask"]  # a fixture

CPU = torch.device("cpu")
TINY_NET = ("search.backbone=test_resnet", "search.image_size=16", "search.pretrained=false")


def write_photo(path: Path, kind: int, seed: int) -> None:
    """Write a JPEG of a size of its own, whose colours are those of its class."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (*rng.integers(20, 48, 2), 3), dtype=np.uint8)
    pixels[..., kind % 3] += 100
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_folders(root: Path, counts: dict[str, int]) -> None:
    for kind, (folder, count) in enumerate(counts.items()):
        for number in range(count):
            write_photo(root / folder / f"pic_{number:04d}.jpg", kind, 1000 * kind + number)


def space(name: str, *overrides: str) -> SweepConfig:
    sweep = load_sweep(REPOSITORY / "search_spaces" / f"{name}.yaml", overrides)
    load_model_files([REPOSITORY / file for file in sweep.model_files])
    return sweep


def trained(
    sweep: SweepConfig, folder: Path, numbers: Sequence[int] = (0,)
) -> list[tuple[TrialOutcome, list[EpochMetrics]]]:
    """Train trials that a search space suggests, an epoch each, in this process."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    ended = []
    for number in numbers:
        config = suggest(sweep.search, study.ask())
        images = prepare_images(sweep.dataset, config.image_size, Workspace(folder))
        data = TrialData(DeviceImages(images, "train", CPU), DeviceImages(images, "val", CPU), images.titles)
        seen: list[EpochMetrics] = []
        outcome = train(
            TrialSpec(number=number, seed=number, epochs=1, config=config),
            TrialFolder(folder / "trials" / f"trial-{number:04d}"),
            Conditions(data, sweep.objective, None, CPU),
            lambda metrics, seen=seen: bool(seen.append(metrics)),  # type: ignore[misc]
        )
        assert outcome.state is TrialState.COMPLETE, outcome.reason
        ended.append((outcome, seen))
    return ended


@pytest.mark.parametrize("backbone", ["food11_resnet", "food11_resnet_v2"])
def test_food11_trains_both_its_networks_on_photographs_of_many_sizes(tmp_path: Path, backbone: str) -> None:
    write_folders(tmp_path / "food", {f"{split}/{dish}": 10 for split in ("train", "test") for dish in "abc"})
    sweep = space(
        "food11",
        f"dataset.path={tmp_path / 'food'}",
        "dataset.stored_size=32",
        "search.image_size=32",
        f"search.backbone={backbone}",
    )
    images = prepare_images(sweep.dataset, 32, Workspace(tmp_path))
    assert {split: len(rows) for split, rows in images.splits.items()} == {"train": 27, "val": 3, "test": 30}
    trained(sweep, tmp_path)


def test_tinyimagenet_has_the_networks_optimizers_and_schedule_of_its_study() -> None:
    search = space("tinyimagenet").search
    names = " ".join(search.backbone.choice)
    assert all(name in names for name in ("resnet18", "wide_resnet50_2", "efficientnet_b0", "tf_efficientnet_b7"))
    assert {option.name for option in search.optimizer.choice} == {"adam", "sgd"}
    assert search.scheduler.name == "reduce_on_plateau"
    assert len(search.head.choice) == 3


def write_contest(folder: Path) -> None:
    """Write images in one folder, a CSV of names and codes, and a JSON file of the codes."""
    names = ["archery", "badminton", "cricket"]
    rows = [(f"{number}.jpg", number % 3) for number in range(36)]
    for name, code in rows:
        write_photo(folder / "train" / name, code, int(name[:-4]))
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image_id", "label"), *rows])
    (folder / "classes.json").write_text(json.dumps({name: code for code, name in enumerate(names)}))


def test_sports_goes_from_coded_labels_to_a_trial_judged_by_macro_f1(tmp_path: Path, ask: Ask) -> None:
    sports = tmp_path / "data" / "sports"
    write_contest(sports)
    codes = ("--csv-images", "train", "--class-codes", "data/sports/classes.json")
    split = ask("data", "split", "data/sports/train.csv", *codes, "--val-fraction", "0.2", "--seed", "0")
    assert split.code == 0, split.err
    assert {file.name for file in (sports / "train-splits").iterdir()} >= {"train.csv", "valid.csv"}
    sweep = space("sports", *TINY_NET, "dataset.limit.train_images=24")
    ((outcome, history),) = trained(sweep, tmp_path)
    assert outcome.best_value == history[0].values["val/f1"]
    images = prepare_images(sweep.dataset, 16, Workspace(tmp_path))
    assert images.classes == ("archery", "badminton", "cricket")
    schedule = sweep.search.scheduler
    assert (schedule.name, schedule.every, schedule.factor) == ("step", 2, 0.8)
    (weights,) = (tmp_path / "trials" / "trial-0000" / "artifacts" / "weights").iterdir()
    trained(space("sports", *TINY_NET[:2], f"search.pretrained={weights}"), tmp_path, numbers=(1,))


CHARACTERS = {"abe": 3, "bart": 40, "carl": 12}


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("simpsons", ("search.backbone=simpsons_cnn5", "search.image_size=32")),
        ("simpsons", ("search.backbone=simpsons_cnn6", "search.image_size=32")),
        ("simpsons_resnet", TINY_NET),
    ],
    ids=["cnn5", "cnn6", "resnet"],
)
def test_simpsons_searches_class_balance_with_amsgrad_and_a_plateau(
    tmp_path: Path, ask: Ask, name: str, overrides: tuple[str, ...]
) -> None:
    write_folders(tmp_path / "data" / "simpsons", CHARACTERS)
    split = ask("data", "split", "data/simpsons", "--val-fraction", "0.2", "--test-fraction", "0.1")
    assert split.code == 0, split.err
    sweep = space(name, *overrides)
    images = prepare_images(sweep.dataset, 32, Workspace(tmp_path))
    assert set(images.splits) == {"train", "val", "test"}
    assert (np.bincount(images.labels[images.splits["train"]]) > 0).all()  # the rarest character too
    search = sweep.search
    assert (search.optimizer.name, search.optimizer.lr, search.optimizer.amsgrad) == ("adamw", 1e-3, True)
    assert (search.scheduler.factor, search.scheduler.patience) == (0.1, 2)
    trained(sweep, tmp_path, numbers=(0,) if "simpsons_cnn6" in overrides[0] else (0, 1))


def test_every_file_and_test_that_the_page_of_studies_names_exists() -> None:
    named = re.findall(r"`((?:\w+/)*\w+\.(?:py|yaml))(?:::(\w+))?`", (REPOSITORY / "docs" / "studies.md").read_text())
    assert len(named) > 25
    for file, test in named:
        path = REPOSITORY / file if (REPOSITORY / file).exists() else REPOSITORY / "tests" / file
        assert f"def {test}" in path.read_text() if test else path.exists()


def options(value: Any) -> list[str]:
    return list(getattr(value, "choice", [value]))


@pytest.mark.slow
@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_network_of_a_search_space_takes_images_of_its_sizes(path: Path) -> None:
    sweep = space(path.stem)
    for backbone in options(sweep.search.backbone):
        for size in image_sizes(sweep.search.image_size):
            with torch.device("meta"):  # shapes alone: Swin-L takes neither memory nor time
                assert feature_count(backbone, create(backbone, False, {}, image_size=size), size) > 0
