"""Labels as annotators, spreadsheets and file systems write them: missing ones, and two spellings of one class."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.curation.image_list import read_image_list
from sweeper.data.decode import FULL_DEPTH
from sweeper.data.index import ImageIndex, build_index
from sweeper.data.labels import look_alikes, plain
from sweeper.data.other_images import other_images
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.functional.answer import Ask, ask
from tests.pictures import write_class_folders

__all__ = ["ask"]  # a fixture

CAFE, CAFE_ON_MACOS = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


def index_of(root: Path, names: list[str], times: int = 4, **options: object) -> ImageIndex:
    """Index a CSV file in which every label stands so often."""
    written = [label for label in names for _ in range(times)]
    write_class_folders(root, {"im": len(written)})
    rows = [f"im/{number:04d}.png,{label}" for number, label in enumerate(written)]
    (root / "d.csv").write_text("\n".join(["image,label", *rows]) + "\n", encoding="utf-8")
    return build_index(DatasetConfig(path=str(root / "d.csv"), **options), Workspace(root))


MISSING = ["", "nan", "NaN", "None", "NA", "N/A", "<NA>", "NULL", "null"]


@pytest.mark.parametrize("label", MISSING)
def test_a_missing_label_is_refused_by_line_with_the_choice(tmp_path: Path, label: str) -> None:
    with pytest.raises(DatasetError, match=r"d\.csv line 6: the label is (missing|empty)") as said:
        index_of(tmp_path, ["cat", label, "dog"])
    assert ("dataset.missing_labels: skip" in str(said.value)) == bool(label)


def test_rows_without_a_label_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    index = index_of(tmp_path, ["cat", *MISSING, "dog"], missing_labels="skip")
    assert index.classes == ("cat", "dog")
    assert len(index.paths) == 8
    assert sum(index.notes.skipped.values()) == 4 * len(MISSING)
    assert index.notes.skipped["empty"] == 4
    assert any("rows without a label left out: " in line for line in index.notes.warnings())


def test_a_class_may_be_called_none_where_that_is_said(tmp_path: Path) -> None:
    assert index_of(tmp_path, ["None", "scratch"], missing_labels="keep").classes == ("None", "scratch")
    assert index_of(tmp_path / "2", ["none", "scratch"]).classes == ("none", "scratch")
    with pytest.raises(DatasetError, match="the label is empty"):
        index_of(tmp_path / "3", ["None", "", "scratch"], missing_labels="keep")


ALIKE = [
    ["1", "1.0", "01"],
    ["7", "7.00", "+7"],
    [CAFE, CAFE_ON_MACOS],
    ["thé", "Thé", "th\u200bé", "thé\u2060"],
    ["hot dog", "Hot  dog", "hot\u00a0dog", "HOT DOG"],
    ["straße", "STRASSE"],
    ["ﬁsh", "fish"],
]


@pytest.mark.parametrize("names", ALIKE)
def test_classes_that_look_alike_are_reported_and_stay_apart_unless_merged(tmp_path: Path, names: list[str]) -> None:
    index = index_of(tmp_path, [*names, "other"])
    assert index.notes.look_alikes == (tuple(sorted(names)),)
    assert len(index.classes) == len(names) + 1
    (told,) = [line for line in index.notes.warnings() if "look alike" in line]
    assert "dataset.labels: normalize" in told
    assert told.count(" = ") == len(names) - 1
    merged = index_of(tmp_path, [*names, "other"], labels="normalize")
    assert len(merged.classes) == 2
    assert not merged.notes.look_alikes
    assert any("classes made one" in line for line in merged.notes.facts())


def test_a_merged_class_is_called_as_most_of_its_images_are_without_what_cannot_be_seen(tmp_path: Path) -> None:
    names = ["Thé", "thé\u200b", "thé\u200b", "1.0", "01", "dog", "x"]
    assert index_of(tmp_path, names, labels="normalize").classes == ("1", "dog", "thé", "x")


def test_spellings_of_one_name_are_distinguished_in_what_is_said(tmp_path: Path) -> None:
    (told,) = index_of(tmp_path, [CAFE, CAFE_ON_MACOS, "x"], times=30).notes.warnings()
    assert r"'cafe\u0301' = 'caf\xe9'" in told


def test_class_folders_are_looked_at_alike(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "d", {"Cat": 4, "cat": 4, "dog": 4, CAFE: 4, CAFE_ON_MACOS: 4})
    index = build_index(DatasetConfig(path=str(root)), Workspace(tmp_path))
    assert len(index.notes.look_alikes) == 2
    merged = build_index(DatasetConfig(path=str(root), labels="normalize"), Workspace(tmp_path))
    assert merged.classes == tuple(sorted(("Cat", "dog", CAFE)))
    assert len(merged.paths) == 20


def test_a_class_may_be_spelled_otherwise_in_another_split_folder_where_spellings_are_one(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_class_folders(root / "train", {"Cat": 4, "01": 4, CAFE: 4})
    write_class_folders(root / "val", {"cat": 2, "1": 2, CAFE_ON_MACOS: 2})
    with pytest.raises(DatasetError, match=r"3 here are not:(?s:.*)`dataset.labels: normalize` makes those one"):
        build_index(DatasetConfig(path=str(root)), Workspace(tmp_path))
    index = build_index(DatasetConfig(path=str(root), labels="normalize"), Workspace(tmp_path))
    assert index.classes == ("1", "Cat", CAFE)
    assert [len(index.splits[split]) for split in ("train", "val")] == [12, 6]
    write_class_folders(root / "val", {"cow": 2})
    with pytest.raises(DatasetError, match=r"1 here are not:\n  cow\n.*folders\.$"):
        build_index(DatasetConfig(path=str(root), labels="normalize"), Workspace(tmp_path))


def test_other_images_are_labelled_by_what_the_classes_mean_where_the_study_did_so(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "d", {"CAT": 2, CAFE_ON_MACOS: 2})
    workspace, classes = Workspace(tmp_path), ("cat", CAFE)
    with pytest.raises(DatasetError, match="classes are unknown to the model"):
        other_images(DatasetConfig(path=str(root)), "test", classes, 8, workspace, FULL_DEPTH)
    dataset = DatasetConfig(path=str(root), labels="normalize")
    assert sorted(other_images(dataset, "test", classes, 8, workspace, FULL_DEPTH).images.labels.tolist()) == [
        0,
        0,
        1,
        1,
    ]


def test_data_check_finds_both(ask: Ask, tmp_path: Path) -> None:
    index_of(tmp_path, ["cat", "Cat", "nan", "dog"], missing_labels="skip")
    answer = ask("data", "check", "d.csv")
    assert answer.code == 1
    assert "classes that look alike" in answer.out
    assert "'Cat' = 'cat'" in answer.out
    assert "4 nan" in answer.out
    assert read_image_list(tmp_path / "d.csv", CsvConfig(), Workspace(tmp_path)).classes == ("Cat", "cat", "dog")


@given(st.text(max_size=12))
def test_the_plain_form_of_a_plain_form_is_itself(text: str) -> None:
    assert plain(plain(text)) == plain(text)


@given(st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1, max_size=8))
def test_what_cannot_be_seen_never_makes_another_class(text: str) -> None:
    spellings = {text, f"{text}\u200b", f" {text}\u00a0", f"\ufeff{text}", unicodedata.normalize("NFD", text)}
    assert len({plain(name) for name in spellings}) == 1
    assert len(look_alikes(spellings)) == (len(spellings) > 1)


@given(st.integers(0, 10**9), st.integers(0, 3), st.integers(0, 3))
def test_a_number_is_the_same_however_it_is_written(number: int, zeros: int, decimals: int) -> None:
    written = "0" * zeros + str(number) + ("." + "0" * decimals if decimals else "")
    assert plain(written) == str(number)


@pytest.mark.parametrize(("one", "other"), [("1", "10"), ("1.5", "15"), ("a b", "ab"), ("1.2.3", "123"), ("x1", "x01")])
def test_what_differs_in_meaning_stays_apart(one: str, other: str) -> None:
    assert plain(one) != plain(other)
