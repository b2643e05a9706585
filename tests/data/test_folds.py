"""Folds: every image is validated once, classes are even, and what belongs together stays together."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sweeper.config.dataset import DatasetConfig, LimitConfig
from sweeper.data.folds import draw_folds
from sweeper.data.image_set import dataset_digest
from sweeper.data.index import build_index
from sweeper.data.prepare import prepare_images
from sweeper.data.splitting import Units, joined
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.pictures import write_class_folders, write_picture

SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=6)


@given(SIZES, st.integers(2, 7), st.integers(0, 5))
def test_every_image_is_in_one_fold_and_folds_differ_by_one_image_of_a_class_and_in_all(
    sizes: list[int], number: int, seed: int
) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    folds = draw_folds(labels, np.arange(len(labels)), Units(np.arange(len(labels))), number, seed)
    assert sorted(row for fold in folds for row in fold.tolist()) == list(range(len(labels)))
    counts = np.array([[len(fold), *np.bincount(labels[fold], minlength=len(sizes))] for fold in folds])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()
    assert all((np.diff(fold) > 0).all() for fold in folds)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15)), min_size=20, max_size=80), st.integers(2, 5))
def test_groups_and_copies_are_whole_in_a_fold_and_every_image_is_validated_once(
    images: list[tuple[int, int]], number: int
) -> None:
    labels, groups = (np.array(column) for column in zip(*images, strict=True))
    copies = np.arange(len(labels))
    copies[1] = 0
    for units in (joined(copies, groups), joined(copies, None)):
        folds = draw_folds(labels, np.arange(len(labels)), units, number, 0)
        assert len(folds) == number
        assert sorted(row for fold in folds for row in fold.tolist()) == list(range(len(labels)))
        fold_of = {row: place for place, fold in enumerate(folds) for row in fold.tolist()}
        assert all(fold_of[row] == fold_of[int(head)] for row, head in enumerate(units.first))


@given(st.lists(st.integers(1, 8), min_size=30, max_size=60), st.integers(2, 5))
def test_many_small_groups_leave_folds_of_about_one_size(sizes: list[int], number: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = groups % 2
    assume(min(np.bincount(labels)) > 8 * number)
    folds = draw_folds(labels, np.arange(len(labels)), joined(np.arange(len(labels)), groups), number, 0)
    for label in (0, 1):
        counts = [int((labels[fold] == label).sum()) for fold in folds]
        assert max(counts) - min(counts) <= 8


def test_the_images_of_a_given_validation_split_are_in_the_folds_and_those_of_the_test_split_are_not(
    tmp_path: Path, workspace: Workspace
) -> None:
    counts = {f"{split}/{name}": n for split, n in {"train": 7, "val": 3, "test": 4}.items() for name in "ab"}
    write_class_folders(tmp_path / "d", counts)
    index = build_index(DatasetConfig(path=str(tmp_path / "d"), folds=5), workspace)
    assert [len(fold) for fold in index.folds] == [4] * 5
    in_folds = {index.paths[row] for fold in index.folds for row in fold.tolist()}
    assert in_folds == {path for path in index.paths if not path.startswith("test/")}
    assert len(index.splits["test"]) == 8
    assert any("6 images of the given validation split are in the folds" in line for line in index.notes.warnings())


def test_each_fold_is_validated_and_the_last_training_has_them_all(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", dict.fromkeys("abc", 10))
    images = prepare_images(DatasetConfig(path=str(tmp_path / "d"), folds=3), 8, workspace)
    everything = np.arange(30)
    for number, fold in enumerate(images.folds, 1):
        splits = images.validating(number).splits
        assert np.array_equal(splits["val"], fold)
        assert np.array_equal(splits["train"], np.setdiff1d(everything, fold))
    assert np.array_equal(images.without_validation().splits["train"], everything)
    assert np.array_equal(images.splits["val"], images.folds[0])


def test_a_limit_takes_as_many_images_of_each_fold_and_a_list_leaves_out_what_it_names(
    tmp_path: Path, workspace: Workspace
) -> None:
    write_class_folders(tmp_path / "d", dict.fromkeys("ab", 30))
    whole = build_index(DatasetConfig(path=str(tmp_path / "d"), folds=5), workspace)
    limited = DatasetConfig(path=str(tmp_path / "d"), folds=5, limit=LimitConfig(train_images=22))
    folds = build_index(limited, workspace).folds
    assert [len(fold) for fold in folds] == [5, 5, 4, 4, 4]
    named = [whole.paths[row] for row in whole.folds[2].tolist()[:2]]
    (tmp_path / "bad.txt").write_text("\n".join(named))
    rest = build_index(DatasetConfig(path=str(tmp_path / "d"), folds=5, exclude=str(tmp_path / "bad.txt")), workspace)
    assert [len(fold) for fold in rest.folds] == [12, 12, 10, 12, 12]
    with pytest.raises(ValueError, match=r"limit.val_images limits a validation split, and folds: 5 leave none"):
        DatasetConfig(builtin="digits", folds=5, limit=LimitConfig(val_images=3))


def test_a_class_with_fewer_images_than_folds_is_named_with_what_to_do(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", {"common": 20, "rare": 3})
    with pytest.raises(DatasetError) as caught:
        build_index(DatasetConfig(path=str(tmp_path / "d"), folds=5), workspace)
    assert "with dataset.folds: 5 every class needs at least 5 images, 1 of 2 have fewer:\n" in str(caught.value)
    assert "rare: 3" in str(caught.value)
    assert "set dataset.folds: 3" in str(caught.value)


def test_a_class_that_is_one_group_is_refused_since_no_training_without_its_fold_would_see_it(
    tmp_path: Path, workspace: Workspace
) -> None:
    rows = []
    for number in range(40):
        write_picture(tmp_path / f"im/{number}.png", number, 8, 8)
        alone = number < 10
        rows.append((f"im/{number}.png", "one" if alone else "many", "p0" if alone else f"p{number // 2}"))
    with (tmp_path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "patient"), *rows])
    grouped = DatasetConfig(path=str(tmp_path / "d.csv"), folds=4, group_column="patient")
    with pytest.raises(DatasetError, match=r"all images of 1 of 2 classes are in one fold.*\n.*one"):
        build_index(grouped, workspace)
    index = build_index(DatasetConfig(path=str(tmp_path / "d.csv"), folds=4), workspace)
    asked = [line for line in index.notes.warnings() if line.startswith("do images with the same patient")]
    assert "are in several folds" in asked[0]


def test_other_folds_are_another_data_set(tmp_path: Path, workspace: Workspace) -> None:
    write_class_folders(tmp_path / "d", dict.fromkeys("ab", 20))
    given = [{"folds": 4}, {"folds": 4}, {"folds": 5}, {"folds": 4, "split_seed": 1}, {}]
    digests = [
        dataset_digest(build_index(DatasetConfig(path=str(tmp_path / "d"), **options), workspace), "content")
        for options in given
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
