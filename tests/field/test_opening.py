"""What is said before the first trial: splits and their origin, steps, what is searched, and what looks wrong."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.display.opening import opening_lines
from sweeper.paths import Workspace
from sweeper.study.opening import Opening, opening
from sweeper.study.preparation import prepare_dataset
from tests.functional.answer import Ask, ask
from tests.pictures import write_class_folders

__all__ = ["ask"]  # a fixture


def opened(
    root: Path,
    counts: dict[str, int],
    search: Mapping[str, Any] | None = None,
    size: int = 28,
    workers: str | None = None,
    **content: Any,
) -> Opening:
    write_class_folders(root / "d", counts, size=size)
    dataset = {"path": str(root / "d"), **content.pop("dataset", {})}
    given = {"study": "s", "dataset": dataset, "search": {"backbone": "test_resnet", **(search or {})}, **content}
    sweep = SweepConfig.model_validate(given)
    return opening(sweep, prepare_dataset(sweep, Workspace(root), lambda *_: None), workers)


def facts(found: Opening) -> dict[str, list[str]]:
    """Return what is said of each subject; a line without one belongs to the one above."""
    told: dict[str, list[str]] = {}
    subject = ""
    for name, text in found.facts:
        subject = name or subject
        told.setdefault(subject, []).append(text)
    return told


LARGE = {"a": 120, "b": 160}
RATE = {"name": "adamw", "lr": {"float": [0.1, 1]}}
SEARCH = {"image_size": 28, "batch_size": {"choice": [16, 50]}, "optimizer": RATE}


def test_splits_and_their_origin_sizes_steps_and_parameters_are_reported(tmp_path: Path) -> None:
    told = facts(opened(tmp_path, LARGE, SEARCH, dataset={"val_fraction": 0.25}))
    assert told == {
        "goal": ["val/accuracy (maximized); 20 trials of up to 10 epochs"],
        "images": [
            "train 210 of 2 classes, 90 to 120 each: the rest",
            "val 70 of 2 classes, 30 to 40 each: 0.25 of all images, drawn by split_seed 0",
            "test none",
        ],
        "pictures": ["28 pixels on the shorter side; trained at 28 by crop"],
        "device": ["auto; one worker on each GPU, or one on the CPU"],
        "steps": ["5 to 14 an epoch, by batch_size"],
        "searched": ["optimizer.lr: 0.1 to 1", "batch_size: 16 | 50"],
        "pruner": [
            "promote, since none is named: trials pause after epoch 1, then the best 30% go on to their end "
            "(docs/pruning.md)"
        ],
    }


WORKERS = {
    ("auto", None): "auto; one worker on each GPU, or one on the CPU",
    ("cuda", None): "cuda; one worker on each GPU",
    ("cuda:1", None): "cuda:1; 1 worker",
    ("cpu", None): "cpu; 1 worker",
    ("cpu", "3"): "cpu; 3 workers",
    ("auto", "auto"): "auto; as many workers as fit in memory, found out while trials run",
}


@pytest.mark.parametrize(("device", "workers"), WORKERS)
def test_workers_are_shown_as_they_will_be(tmp_path: Path, device: str, workers: str | None) -> None:
    told = facts(opened(tmp_path, {"a": 10, "b": 10}, SEARCH, workers=workers, device=device))
    assert told["device"] == [WORKERS[device, workers]]


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ({}, "each trial on 4 devices of one node, or of several where no node has room for all (engine.spread)"),
        ({"spread": False}, "each trial on 4 devices of one node; files"),
    ],
)
def test_it_is_said_where_in_a_cluster_the_devices_of_a_trial_may_be(
    tmp_path: Path, engine: dict[str, Any], said: str
) -> None:
    of_ray: dict[str, Any] = {"engine": {"name": "ray", **engine}, "devices_per_trial": 4}
    (told,) = facts(opened(tmp_path, {"a": 10, "b": 10}, SEARCH, **of_ray))["device"]
    assert "each with 1 CPU and 4 GPUs where there are any" in told
    assert said in told


def test_a_sound_study_is_begun_without_a_warning(tmp_path: Path) -> None:
    assert opened(tmp_path, LARGE, SEARCH, dataset={"val_fraction": 0.2}).warnings == ()
    given = {f"{split}/{name}": 60 for split in ("train", "val") for name in "ab"}
    assert opened(tmp_path / "given", given, SEARCH).warnings == ()


def test_given_and_drawn_splits_are_distinguished(tmp_path: Path) -> None:
    given = facts(opened(tmp_path, {"train/a": 30, "train/b": 30, "test/a": 5, "test/b": 5}, SEARCH))["images"]
    assert given == [
        "train 48 of 2 classes, 24 each: the rest",
        "val 12 of 2 classes, 6 each: 0.2 of train, drawn by split_seed 0",
        "test 10 of 2 classes, 5 each: given",
    ]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no validation split": (
        {"search": SEARCH, "dataset": {}},
        "no validation split is given: 0.2 of all images, drawn by split_seed 0, is used for validation. Images that "
        "are nearly alike, such as those of one patient or video, may be on both sides; give a split, name what "
        "belongs together (dataset.group_column, dataset.group_from), or set dataset.val_fraction if a random share "
        "is right",
    ),
    "a batch larger than the split": ({"search": {**SEARCH, "batch_size": 500}}, "batch_size 500 is more than the 224"),
    "nothing to search": (
        {"search": {"image_size": 28}},
        "nothing is searched: all 20 trials have the same settings and differ by their seed",
    ),
    "an image size that nobody chose": (
        {"search": {"batch_size": {"choice": [8, 16]}}},
        "search.image_size is not set, and the pictures of 28 pixels are enlarged to 64, its default; "
        "set search.image_size, for instance to 28",
    ),
    "large pictures made small by default": (
        {"search": {"batch_size": {"choice": [8, 16]}}, "size": 400, "counts": {"a": 30, "b": 30}},
        "the pictures of 400 pixels are reduced to 64, its default; set search.image_size, for instance to 224",
    ),
    "few images to judge by": (
        {"search": SEARCH, "counts": {"a": 40, "b": 40}},
        "16 validation images judge the trials, and each moves the accuracy by 6.2%",
    ),
    "a class absent from validation": (
        {"search": SEARCH, "counts": {"train/a": 60, "train/b": 60, "train/c": 60, "val/a": 60, "val/c": 60}},
        "no val image for 1 of 3 classes, so that nothing is known of them there; add some:\n  b",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_looks_wrong_is_warned_of_with_the_remedy(tmp_path: Path, case: str) -> None:
    options, expected = WRONG[case]
    found = opened(tmp_path, **{"counts": LARGE, "dataset": {"val_fraction": 0.2}, **options}).warnings
    (warning,) = [line for line in found if "judge the trials" not in line or len(found) == 1]
    assert expected in warning


def test_a_validation_split_drawn_beside_a_given_test_split_is_warned_of_too(tmp_path: Path) -> None:
    found = opened(tmp_path, {"train/a": 300, "train/b": 300, "test/a": 5, "test/b": 5}, SEARCH).warnings
    expected = "no validation split is given: 0.2 of train, drawn by split_seed 0, is used for validation"
    assert any(line.startswith(expected) for line in found)


def test_one_trial_without_a_search_is_nothing_wrong(tmp_path: Path) -> None:
    found = opened(tmp_path, LARGE, {"image_size": 28}, budget={"trials": 1}, dataset={"val_fraction": 0.2})
    assert found.warnings == ()
    assert facts(found)["searched"] == ["nothing"]


def test_a_piped_run_says_it_before_the_first_trial_and_says_its_device(ask: Ask, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"train/a": 6, "train/b": 6, "val/a": 3, "val/b\x1b[2J": 0})
    (tmp_path / "d/train/b").rename(tmp_path / "d/train/b\x1b[2J")
    shutil.copy(tmp_path / "d/train/a/0000.png", tmp_path / "d/val/a/copy.png")
    (tmp_path / "d/train/a/notes.txt").write_text("x")
    space = "study: s\ndataset: {path: d}\nbudget: {trials: 1, epochs: 1}\ndevice: cpu\n"
    (tmp_path / "space.yaml").write_text(space + "search: {backbone: test_resnet, image_size: 8, batch_size: 4}\n")
    answer = ask("run", "space.yaml", "--no-report")
    assert answer.code == 0, answer.err
    before, _, after = answer.out.partition("trial 0 started")
    assert "images    train 12 of 2 classes, 6 each: given" in before
    assert "files     left out: 1 .txt" in before
    assert "warning: 1 of 4 val images are copies of images in train (val/a/copy.png and train/a/0000.png)" in before
    assert "warning: no val image for 1 of 2 classes" in before
    assert "b\\x1b[2J" in before
    assert "\x1b" not in answer.out
    assert "a worker is ready on cpu" in before
    assert "warning: " not in after


def test_lines_stand_in_two_columns() -> None:
    lines = opening_lines(Opening((("goal", "x"), ("", "y\nz"), ("pictures", "w")), ("mind\n  this",)))
    assert lines == ["goal      x", "          y\n          z", "pictures  w", "warning: mind\n  this"]
