"""A data set that was named one level too high or too low is answered with the folder that looks right."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sweeper.config.dataset import DatasetConfig
from sweeper.data.index import build_index
from sweeper.errors import DatasetError
from sweeper.paths import Workspace


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders, two levels below the working directory."""
    root = tmp_path / "download" / "photos"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(root / name / f"{number}.png")
    return root


def refusal(tmp_path: Path, path: str) -> str:
    with pytest.raises(DatasetError) as refused:
        build_index(DatasetConfig(path=path), Workspace(tmp_path))
    return str(refused.value)


def test_a_folder_around_the_class_folders_is_answered_with_theirs(tmp_path: Path, photos: Path) -> None:
    assert f"the class folders are not in it but in photos; set dataset.path: {photos}" in refusal(tmp_path, "download")
    (tmp_path / "more").mkdir()
    photos.parent.rename(tmp_path / "more" / "download")
    right = tmp_path / "more" / "download" / "photos"
    assert f"set dataset.path: {right}" in refusal(tmp_path, "more")


def test_a_folder_around_split_folders_is_answered_with_theirs(tmp_path: Path, photos: Path) -> None:
    right = tmp_path / "data" / "set"
    right.mkdir(parents=True)
    photos.rename(right / "train")
    assert f"set dataset.path: {right}" in refusal(tmp_path, "data")


def test_the_folder_of_a_class_is_answered_with_the_one_above(tmp_path: Path, photos: Path) -> None:
    assert f"if it is one class, set dataset.path: {photos}; otherwise put" in refusal(tmp_path, "download/photos/cat")


def test_a_path_that_is_not_there_says_where_relative_ones_begin(tmp_path: Path) -> None:
    assert f"relative paths begin in {tmp_path}; correct the path (`dataset.path` in a search space)" in refusal(
        tmp_path, "fotos"
    )
    assert "relative paths" not in refusal(tmp_path, "/no/fotos")
