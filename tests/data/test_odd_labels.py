"""Labels that are no single class are told: several in one, and measurements; names and numbers of classes are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.curation.check import check
from sweeper.curation.image_list import read_image_list
from sweeper.data.index import build_index
from sweeper.data.odd_labels import odd_labels
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.pictures import write_class_folders


def write_list(root: Path, labels: list[str]) -> Path:
    """Write a CSV file with one image a label."""
    write_class_folders(root, {"im": len(labels)})
    rows = [f'im/{number:04d}.png,"{label}"' for number, label in enumerate(labels)]
    (root / "d.csv").write_text("\n".join(["image,label", *rows]))
    return root / "d.csv"


@pytest.mark.parametrize(
    "classes",
    [
        ("Apoptosis", "Mitosis", "Mitosis|Apoptosis"),
        ("cat", "cat; dog", "dog"),
        ("a,b", "b,c", "a,b,c"),
    ],
)
def test_several_labels_in_one_are_told(classes: tuple[str, ...]) -> None:
    assert "several labels per image are not supported" in odd_labels(classes)


@pytest.mark.parametrize(
    "classes",
    [
        ("Mitosis", "Normal"),
        ("0", "1", "2", "10"),
        ("1.0", "2.0", "3.0"),
        ("grey, small", "red, large", "blue"),
        ("grey, large", "grey, small", "red, large", "red, small"),
        ("Abies alba | fir", "Picea abies | spruce"),
        ("0.5x", "1.5x", "2.5x"),
    ],
)
def test_names_and_whole_numbers_are_classes(classes: tuple[str, ...]) -> None:
    assert odd_labels(classes) == ""


def test_measurements_are_told_at_the_start_and_by_the_check(tmp_path: Path) -> None:
    file = write_list(tmp_path, ["0.5", "1.25", "2.0", "4.0"] * 4)
    (warning,) = build_index(DatasetConfig(path=str(file)), Workspace(tmp_path)).notes.warnings()
    assert "look like measurements, 0.5 to 4: each of the 4 values is taken for a class" in warning
    assert "(regression) is not supported" in warning
    report = check(read_image_list(file, CsvConfig(), Workspace(tmp_path)))
    (found,) = (line for line in report.as_json()["findings"] if line["what"] == "labels that may be no classes")
    assert (found["count"], found["serious"]) == (1, False)


def test_measurements_that_all_differ_are_refused_by_what_they_are(tmp_path: Path) -> None:
    file = write_list(tmp_path, [f"{number}.5" for number in range(8)])
    with pytest.raises(DatasetError, match=r"found none.*labels look like measurements, 0\.5 to 7\.5"):
        build_index(DatasetConfig(path=str(file)), Workspace(tmp_path))


def test_a_second_label_of_an_image_is_refused_by_what_it_is(tmp_path: Path) -> None:
    file = write_list(tmp_path, ["a", "b"] * 4)
    with file.open("a") as more:
        more.write("\nim/0000.png,b\nim/0001.png,b\n")
    with pytest.raises(DatasetError) as said:
        build_index(DatasetConfig(path=str(file)), Workspace(tmp_path))
    assert "line 10: 'im/0000.png' is a duplicate of d.csv line 2, there with the label 'a'" in str(said.value)
    assert "line 11: 'im/0001.png' is a duplicate of d.csv line 3\n" in str(said.value)
    assert "several labels per image are not supported" in str(said.value)


def test_a_column_for_each_class_is_refused_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("image,cat,dog\na.png,1,0\n")
    with pytest.raises(DatasetError, match=r"One column must hold the class of each image.*is not supported"):
        build_index(DatasetConfig(path=str(tmp_path / "d.csv")), Workspace(tmp_path))


def test_rows_whose_file_does_not_exist_can_be_left_out_and_are_named(tmp_path: Path) -> None:
    file = write_list(tmp_path, ["a", "b"] * 4)
    with file.open("a") as more:
        more.write("\nim/gone.png,b\n")
    with pytest.raises(DatasetError, match=r"1 row cannot be used.*(?s:.)*dataset\.on_bad_image: skip leaves them out"):
        build_index(DatasetConfig(path=str(file)), Workspace(tmp_path))
    (tmp_path / "bad.txt").write_text("im/gone.png\nim/0000.png\n")
    index = build_index(DatasetConfig(path=str(file), on_bad_image="skip", exclude="bad.txt"), Workspace(tmp_path))
    assert len(index.paths) in (7, 8)  # the first may be in the validation split, from which nothing is left out
    (warning,) = index.notes.warnings()
    assert warning.endswith(":\n  im/gone.png")
    report = check(read_image_list(file, CsvConfig(), Workspace(tmp_path)))
    assert report.as_json()["missing_files"] == ["im/gone.png"]
    assert report.serious
