"""The same image in training and validation: never drawn so, and reported, refused or left out where it is given so."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.dataset import DatasetConfig
from sweeper.curation.split import draw
from sweeper.data import copies as copies_module
from sweeper.data.index import ImageIndex, build_index, read_listing
from sweeper.data.splitting import Drawing, draw_splits, joined
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.pictures import write_class_folders, write_split_folders


def index_of(root: Path, **options: object) -> ImageIndex:
    return build_index(DatasetConfig(path=str(root / "d"), **options), Workspace(root))


def copied(root: Path, classes: dict[str, int], times: int) -> None:
    """Write class folders in which every file stands this many more times under other names."""
    write_class_folders(root / "d", classes)
    for file in sorted((root / "d").rglob("*.png")):
        for number in range(times):
            shutil.copy(file, file.with_name(f"{file.stem} ({number + 1}).png"))


def sides(index: ImageIndex) -> dict[str, set[str]]:
    """Return in which splits the copies of each file are."""
    found: dict[str, set[str]] = {}
    for split, rows in index.splits.items():
        for row in rows.tolist():
            found.setdefault(index.paths[row].split(" (")[0].removesuffix(".png"), set()).add(split)
    return found


@pytest.mark.parametrize("test_fraction", [0.0, 0.25])
def test_the_drawn_splits_keep_copies_together(tmp_path: Path, test_fraction: float) -> None:
    copied(tmp_path, {"a": 12, "b": 9}, times=3)
    index = index_of(tmp_path, val_fraction=0.25, test_fraction=test_fraction)
    assert all(len(splits) == 1 for splits in sides(index).values())
    assert len(index.splits["val"]) == 4 * 5
    assert index.notes.copies == 3 * 21
    assert not index.notes.leaks
    assert "63 images are exact copies of others, in the same split as these" in index.notes.facts()


def test_it_is_told_how_many_files_have_been_compared_and_that_only_once(tmp_path: Path) -> None:
    copied(tmp_path, {"a": 12, "b": 9}, times=1)
    dataset, told = DatasetConfig(path=str(tmp_path / "d")), list[tuple[int, int]]()
    for _ in range(2):
        build_index(dataset, Workspace(tmp_path), lambda *at: told.append(at))
    assert told == [(42, 42)]


@pytest.mark.parametrize(("val", "test"), [(0.2, 0.0), (0.3, 0.2)])
def test_a_study_draws_the_splits_that_data_split_writes(tmp_path: Path, val: float, test: float) -> None:
    copied(tmp_path, {"a": 14, "b": 11}, times=1)
    dataset = DatasetConfig(path=str(tmp_path / "d"), val_fraction=val, test_fraction=test, split_seed=3)
    index = build_index(dataset, Workspace(tmp_path))
    listing = read_listing(dataset, Workspace(tmp_path))
    drawn = draw(listing, dataset, tmp_path).splits
    assert {split: [listing.paths[row] for row in rows] for split, rows in drawn.items()} == {
        split: [index.paths[row] for row in rows] for split, rows in index.splits.items()
    }


def given_with_leaks(root: Path) -> None:
    write_split_folders(root / "d", train=6, val=4)
    shutil.copy(root / "d/train/cat/0000.png", root / "d/val/cat/copy.png")
    shutil.copy(root / "d/train/cat/0001.png", root / "d/val/dog/other_label.png")
    (root / "d/test/cat").mkdir(parents=True)
    shutil.copy(root / "d/val/cat/0001.png", root / "d/test/cat/a.png")
    shutil.copy(root / "d/train/dog/0002.png", root / "d/test/cat/b.png")


def test_copies_across_given_splits_are_counted_with_a_remedy(tmp_path: Path) -> None:
    given_with_leaks(tmp_path)
    index = index_of(tmp_path)
    assert [(leak.split, leak.judge, leak.images, leak.total) for leak in index.notes.leaks] == [
        ("train", "val", 2, 10),
        ("train", "test", 1, 2),
        ("val", "test", 1, 2),
    ]
    first = index.notes.warnings()[0]
    assert "2 of 10 val images are copies of images in train (val/cat/copy.png and train/cat/0000.png" in first
    assert "dataset.on_leak: drop" in first
    assert len(index.notes.two_labels) == 2


def test_copies_across_given_splits_can_be_refused(tmp_path: Path) -> None:
    given_with_leaks(tmp_path)
    with pytest.raises(DatasetError, match=r"(?s)several splits.*2 of 10 val images.*on_leak: drop"):
        index_of(tmp_path, on_leak="error")


def test_copies_across_given_splits_can_be_left_out_of_what_is_judged_by_others(tmp_path: Path) -> None:
    given_with_leaks(tmp_path)
    index = index_of(tmp_path, on_leak="drop")
    assert {split: len(rows) for split, rows in index.splits.items()} == {"train": 9, "val": 9, "test": 2}
    assert sum(index.notes.dropped.values()) == 4
    assert not [line for line in index.notes.warnings() if "copies" in line]


def test_what_equal_bytes_there_are_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(tmp_path, {"a": 4, "b": 4}, times=1)
    first = index_of(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(copies_module, "same_content", refuse)
    assert [rows.tolist() for rows in index_of(tmp_path).splits.values()] == [
        rows.tolist() for rows in first.splits.values()
    ]
    (kept,) = (tmp_path / ".sweeper/cache").glob("*.copies")
    kept.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="read again"):
        index_of(tmp_path)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20)), min_size=12, max_size=80),
    st.floats(0.1, 0.4),
    st.sampled_from([0.0, 0.2]),
    st.integers(0, 3),
)
def test_no_copy_crosses_and_every_image_is_in_one_split(
    contents: list[tuple[int, int]], val: float, test: float, seed: int
) -> None:
    """Each image is drawn as (class, content); the same content in two classes is one unit too."""
    keys = [content for _, content in contents]
    first = np.array([keys.index(key) for key in keys])
    labels = np.array([label for label, _ in contents])
    splits = draw_splits([None] * len(keys), labels, joined(first, None), Drawing(val, test, seed))
    assert sorted(row for rows in splits.values() for row in rows.tolist()) == list(range(len(keys)))
    side = {row: split for split, rows in splits.items() for row in rows.tolist()}
    assert all(side[row] == side[head] for row, head in enumerate(first.tolist()))
