from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.data.decode import FULL_DEPTH
from sweeper.data.image_set import ImageSet
from sweeper.data.other_images import other_images
from sweeper.errors import DatasetError
from sweeper.finished.named_data import NamedData
from sweeper.paths import Workspace
from tests.pictures import write_class_folders

CLASSES = ("bird", "cat", "dog")


def read(path: Path, workspace: Workspace, split: str = "test") -> ImageSet:
    return other_images(DatasetConfig(path=str(path)), split, CLASSES, 8, workspace, FULL_DEPTH).images  # type: ignore[arg-type]


def test_labels_count_in_the_classes_of_the_model(tmp_path: Path, workspace: Workspace) -> None:
    images = read(write_class_folders(tmp_path / "d", {"dog": 2, "cat": 1}), workspace)
    assert images.labels.tolist() == [1, 2, 2]
    assert images.splits["test"].tolist() == [0, 1, 2]
    assert images.classes == CLASSES


def test_classes_may_be_given_by_titles(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"n01 x": 2, "n02": 1, "n03 eel": 1})
    titles = ("n01 x great white shark", "n02 goldfish", "n03 eel", "n04 newt")
    dataset = DatasetConfig(path=str(root))
    images = other_images(dataset, "test", titles, 8, workspace, FULL_DEPTH, titled=True).images
    assert images.labels.tolist() == [0, 0, 1, 2]
    assert images.classes == ("n01 x", "n02", "n03 eel", "n04 newt")


@pytest.mark.parametrize("titled", [False, True])
def test_a_class_whose_name_begins_with_that_of_another_stays_another(
    tmp_path: Path, workspace: Workspace, titled: bool
) -> None:
    dataset = DatasetConfig(path=str(write_class_folders(tmp_path / "d", {"apple": 2, "pear": 1})))
    classes = ("apple", "apple pie", "pear")
    images = other_images(dataset, "test", classes, 8, workspace, FULL_DEPTH, titled=titled).images
    assert images.classes == classes
    assert images.labels.tolist() == [0, 0, 2]


def test_of_named_splits_only_the_wanted_one_is_taken(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"train/cat": 2, "train/dog": 2, "test/dog": 3})
    assert read(root, workspace).labels.tolist() == [2, 2, 2]
    with pytest.raises(DatasetError, match="there is no val split: it has test, train"):
        read(root, workspace, "val")


def test_classes_that_the_model_does_not_know_are_named(tmp_path: Path, workspace: Workspace) -> None:
    with pytest.raises(DatasetError, match=r"1 of 2 classes are unknown to the model:\n  Cat\nIt knows 3"):
        read(write_class_folders(tmp_path / "d", {"Cat": 1, "dog": 1}), workspace)


def test_spellings_that_look_like_a_class_are_named_with_what_makes_them_one(
    tmp_path: Path, workspace: Workspace
) -> None:
    root = write_class_folders(tmp_path / "d", {"Cat": 1, "dog": 1, "fish": 1})
    with pytest.raises(DatasetError, match=r"--labels normalize` takes them for one:\n  'Cat' = 'cat'\nName"):
        read(root, workspace)
    with pytest.raises(DatasetError, match=r"  fish\nIt knows 3:\n(  \w+\n){3}Name"):
        read(write_class_folders(tmp_path / "e", {"fish": 1}), workspace)


def test_labels_are_not_normalized_for_a_model_that_tells_spellings_apart(tmp_path: Path, workspace: Workspace) -> None:
    dataset = DatasetConfig(path=str(write_class_folders(tmp_path / "d", {"CAT": 1})), labels="normalize")
    with pytest.raises(DatasetError, match=r"cannot be normalized, .*\n  'Cat' = 'cat'\n"):
        other_images(dataset, "test", ("Cat", "cat"), 8, workspace, FULL_DEPTH)


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("ImageID,Finding,Part", {"path_column": "imageid", "label_column": "Finding", "split_column": "Part"}),
        ("path,Finding", {"label_column": "Finding"}),
        ("path,label", {}),
    ],
)
def test_another_list_is_read_by_those_settings_of_the_study_that_fit_it(
    header: str, kept: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "list.csv").write_text(f"{header}\n")
    study = CsvConfig(
        path_column="imageid", label_column="Finding", split_column="Part", images="photos", extension=".png"
    )
    found = NamedData(tmp_path / "list.csv").dataset(study).csv
    assert found.model_dump(exclude_defaults=True) == {**kept, "images": "photos", "extension": ".png"}
    (tmp_path / "whole.csv").write_text(f"{header}\nseen/1.PNG,cat,val\n")
    assert NamedData(tmp_path / "whole.csv").dataset(study).csv.extension == ""
    (tmp_path / "photos").rmdir()
    named = NamedData(tmp_path / "list.csv", csv={"label_column": "Art", "extension": ""}).dataset(study).csv
    assert (named.label_column, named.images, named.extension) == ("Art", ".", "")


def test_class_folders_have_no_columns(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "d", {"cat": 1})
    assert NamedData(root, "normalize").dataset(CsvConfig(label_column="Finding")).csv == CsvConfig()
