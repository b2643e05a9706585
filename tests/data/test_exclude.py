"""A list of excluded images changes the training images and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config.dataset import DatasetConfig
from sweeper.data.index import ImageIndex, build_index
from sweeper.data.prepare import prepare_images
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.pictures import write_class_folders


@pytest.fixture
def root(tmp_path: Path) -> Path:
    counts = {f"{split}/{name}": 4 for split in ("train", "val", "test") for name in ("cat", "dog")}
    return write_class_folders(tmp_path / "d", counts)


def index_of(root: Path, listed: str, name: str = "list.txt", **options: object) -> ImageIndex:
    (root.parent / name).write_text(listed)
    dataset = DatasetConfig(path="d", exclude=name, **options)
    return build_index(dataset, Workspace(root.parent))


def counts(index: ImageIndex) -> dict[str, int]:
    return {split: len(rows) for split, rows in index.splits.items()}


EVERYWHERE = "train/cat/0001.png\nval/cat/0001.png\ntest/cat/0001.png\n"


def test_only_the_training_split_loses_images_unless_asked_otherwise(root: Path) -> None:
    assert counts(index_of(root, EVERYWHERE)) == {"train": 7, "val": 8, "test": 8}
    both = index_of(root, EVERYWHERE, exclude_from=("train", "val"))
    assert counts(both) == {"train": 7, "val": 7, "test": 8}
    assert "train/cat/0001.png" not in both.paths
    assert "test/cat/0001.png" in both.paths


@pytest.mark.parametrize("quoted", ["train/dog/0002.png", "./train/dog/../dog/0002.png", "{root}/train/dog/0002.png"])
def test_paths_may_be_relative_or_absolute_in_a_table_or_a_text(root: Path, quoted: str) -> None:
    path = quoted.format(root=root)
    assert counts(index_of(root, f"# mine\n{path}\n\n")) == {"train": 7, "val": 8, "test": 8}
    table = f'rank,path,class\n1,"{path}",dog\n'
    assert counts(index_of(root, table, "list.csv")) == {"train": 7, "val": 8, "test": 8}
    for delimiter in ";\t":  # as a spreadsheet saves the list that it was opened with
        again = f'rank{delimiter}path{delimiter}class\n1{delimiter}"{path}"{delimiter}dog\n'
        assert counts(index_of(root, again, "list.csv")) == {"train": 7, "val": 8, "test": 8}


def test_rows_that_match_no_image_are_named(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"1 of 2 rows name no image .*\n  train/cow/1\.png\n.*dataset\.exclude"):
        index_of(root, "train/cat/0001.png\ntrain/cow/1.png\n")


@pytest.mark.parametrize(
    ("name", "listed", "message"),
    [("list.csv", "a,b\n1,2\n", "none is path/image"), ("no/list.txt", "", "cannot be read")],
)
def test_a_list_that_cannot_be_used_is_reported(root: Path, name: str, listed: str, message: str) -> None:
    (root.parent / "list.csv").write_text(listed)
    with pytest.raises(DatasetError, match=message):
        build_index(DatasetConfig(path="d", exclude=name), Workspace(root.parent))


def test_the_drawn_validation_split_is_the_same_with_and_without_a_list(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"cat": 9, "dog": 9})
    (tmp_path / "list.txt").write_text("cat/0001.png\ndog/0003.png\n")
    whole, less = (
        build_index(DatasetConfig(path="d", exclude=listed), Workspace(tmp_path)) for listed in (None, "list.txt")
    )
    assert [whole.paths[row] for row in whole.splits["val"]] == [less.paths[row] for row in less.splits["val"]]


def test_a_changed_list_is_another_data_set(root: Path) -> None:
    digests = set()
    for listed in ("", "train/cat/0001.png\n", "train/cat/0002.png\n"):
        (root.parent / "list.txt").write_text(listed)
        dataset = DatasetConfig(path="d", exclude="list.txt")
        digests.add(prepare_images(dataset, 8, Workspace(root.parent)).digest)
    assert len(digests) == 3


def test_a_limited_data_set_takes_a_list_of_the_whole_one(root: Path) -> None:
    index = index_of(root, "train/cat/0001.png\ntrain/dog/0003.png\n", limit={"train_images": 4})
    assert counts(index)["train"] == 4
