"""Pictures of one patient in training and validation: kept together where the data set says so, else asked about."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.curation.image_list import read_image_list
from sweeper.data.index import ImageIndex, build_index, units_of
from sweeper.data.splitting import draw_groups, joined
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.functional.answer import Ask, ask
from tests.pictures import write_class_folders, write_picture

__all__ = ["ask"]  # a fixture

PATIENTS, PICTURES = 20, 8


def write_patients(root: Path, column: str = "patient_id") -> None:
    """Write 20 patients with 8 pictures each and a label a patient, as a CSV file."""
    rows = []
    for patient in range(PATIENTS):
        for number in range(PICTURES):
            write_picture(root / f"im/p{patient}_{number}.png", patient * PICTURES + number, 8, 8)
            rows.append((f"im/p{patient}_{number}.png", "ab"[patient % 2], f"p{patient}"))
    with (root / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label", column), *rows])


def patients_of(index: ImageIndex) -> dict[str, set[str]]:
    return {
        split: {Path(index.paths[row]).name.partition("_")[0] for row in rows.tolist()}
        for split, rows in index.splits.items()
    }


def index_of(root: Path, **options: object) -> ImageIndex:
    return build_index(DatasetConfig(path=str(root / "d.csv"), **options), Workspace(root))


@pytest.mark.parametrize("rule", [{"group_column": "Patient_ID"}, {"group_from": r"/(p\d+)_"}])
def test_a_group_is_in_one_split_and_shares_hold_as_far_as_groups_allow(tmp_path: Path, rule: dict[str, str]) -> None:
    write_patients(tmp_path)
    index = index_of(tmp_path, val_fraction=0.2, test_fraction=0.2, **rule)
    found = patients_of(index)
    assert not found["train"] & found["val"]
    assert not found["train"] & found["test"]
    assert not found["val"] & found["test"]
    assert {split: len(names) for split, names in found.items()} == {"train": 12, "val": 4, "test": 4}
    for rows in index.splits.values():
        counts = Counter(index.labels[rows].tolist())
        assert counts[0] == counts[1]
    assert index.notes.groups.startswith("20 groups by ")
    assert not index.notes.suspicions


def test_the_groups_may_stand_in_the_last_of_a_hundred_columns(tmp_path: Path) -> None:
    write_patients(tmp_path)
    rows = list(csv.reader((tmp_path / "d.csv").read_text().splitlines()))
    wide = [[*row[:2], *(f"{place}-{row[0]}" for place in range(100)), row[2]] for row in rows]
    with (tmp_path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows(wide)
    assert index_of(tmp_path, group_column="patient_id").notes.groups.startswith("20 groups by ")


def test_a_column_that_looks_like_groups_is_asked_about_with_the_key(tmp_path: Path) -> None:
    write_patients(tmp_path)
    (warning,) = [line for line in index_of(tmp_path).notes.warnings() if "patient_id" in line]
    assert "do images with the same patient_id belong together? 1" in warning
    assert "of its 20 values are in several splits" in warning
    assert "dataset.group_column: patient_id" in warning


@pytest.mark.parametrize("given", [True, False])
def test_a_test_split_beside_does_not_silence_the_question(tmp_path: Path, given: bool) -> None:
    write_patients(tmp_path)
    if given:
        header, *rows = (tmp_path / "d.csv").read_text().splitlines()
        parts = ("train", "train", "val", "test")
        split = [f"{row},{parts[place % 4]}" for place, row in enumerate(rows)]
        (tmp_path / "d.csv").write_text("\n".join([f"{header},split", *split]))
    index = index_of(tmp_path) if given else index_of(tmp_path, test_fraction=0.2)
    assert set(index.splits) == {"train", "val", "test"}
    (found,) = index.notes.suspicions
    assert (found.name, found.crossing) == ("patient_id", 20)


def test_a_check_of_a_list_alone_asks_as_the_start_of_a_study_does(tmp_path: Path) -> None:
    write_patients(tmp_path)
    images = read_image_list(tmp_path / "d.csv", CsvConfig(), Workspace(tmp_path))
    assert images.notes.suspicions == index_of(tmp_path).notes.suspicions
    assert len(images.notes.suspicions) == 1


def test_leaving_out_groups_says_how_much_of_a_split_it_takes(tmp_path: Path) -> None:
    write_patients(tmp_path)
    header, *rows = (tmp_path / "d.csv").read_text().splitlines()
    split = [f"{row},{'val' if place % 8 == 7 and place < 120 else 'train'}" for place, row in enumerate(rows)]
    (tmp_path / "d.csv").write_text("\n".join([f"{header},split", *split]))
    notes = index_of(tmp_path, group_column="patient_id", on_leak="drop").notes
    assert notes.dropped == {"train": 105}
    (warning,) = notes.warnings()
    assert "dataset.on_leak: drop leaves out 105 of 145 train images" in warning
    assert "sweeper data split" in warning


def test_images_that_a_list_leaves_out_are_no_leaks_and_are_counted(tmp_path: Path) -> None:
    write_patients(tmp_path)
    header, *rows = (tmp_path / "d.csv").read_text().splitlines()
    split = [f"{row},{'val' if place >= 152 else 'train'}" for place, row in enumerate(rows)]
    leaking = "im/p19_0.png,b,p19,train"
    (tmp_path / "d.csv").write_text("\n".join([f"{header},split", leaking, *split[:152], *split[153:]]))
    (tmp_path / "bad.txt").write_text("im/p19_0.png\n")
    assert len(index_of(tmp_path, group_column="patient_id").notes.leaks) == 1
    notes = index_of(tmp_path, group_column="patient_id", on_leak="error", exclude="bad.txt").notes
    assert not notes.leaks
    assert "1 image left out by a list (dataset.exclude)" in notes.facts()


@pytest.mark.parametrize("name", ["subject", "SubjectId", "video", "case no", "xyz"])
def test_columns_of_many_names_are_asked_about(tmp_path: Path, name: str) -> None:
    write_patients(tmp_path, column=name)
    assert [found.name for found in index_of(tmp_path).notes.suspicions] == [name]


def test_a_column_that_says_nothing_of_the_label_is_not_asked_about(tmp_path: Path) -> None:
    write_class_folders(tmp_path, {"im": 40})
    rows = [f"im/{n:04d}.png,{'ab'[n % 2]},{n % 7},{n // 3 % 4}" for n in range(40)]
    (tmp_path / "d.csv").write_text("\n".join(["path,label,width,day", *rows]))
    assert not index_of(tmp_path).notes.suspicions


def test_folders_below_classes_are_asked_about(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {f"{c}/patient{n}": 5 for c in "ab" for n in range(4)})
    workspace = Workspace(tmp_path)
    index = build_index(DatasetConfig(path=str(tmp_path / "d")), workspace)
    (warning,) = [line for line in index.notes.warnings() if "folder" in line]
    assert "dataset.group_from: '^(.*)/'" in warning
    grouped = build_index(DatasetConfig(path=str(tmp_path / "d"), group_from="^(.*)/"), workspace)
    folders = [{str(Path(grouped.paths[row]).parent) for row in rows} for rows in grouped.splits.values()]
    assert not folders[0] & folders[1]


def test_groups_across_given_splits_are_a_leak(tmp_path: Path) -> None:
    write_patients(tmp_path)
    lines = (tmp_path / "d.csv").read_text().splitlines()
    halves = [f"{line},{'split' if not n else 'train' if n % 3 else 'val'}" for n, line in enumerate(lines)]
    (tmp_path / "d.csv").write_text("\n".join(halves))
    index = index_of(tmp_path, group_column="patient_id")
    (leak,) = index.notes.leaks
    assert (leak.kind, leak.images, leak.total) == ("groups", 53, 53)
    with pytest.raises(DatasetError, match="53 of 53 val images belong to groups that are also in train"):
        index_of(tmp_path, group_column="patient_id", on_leak="error")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group_column": "doctor"}, "no column 'doctor' for the groups, there are patient_id"),
        ({"group_column": "Label"}, r"the column 'Label' \(dataset.group_column\) holds the label of each image"),
        ({"group_from": "q(.)"}, "names no group for 160 of 160 paths"),
        ({"group_from": "p(x*)"}, "names no group for 160 of 160 paths"),
    ],
)
def test_a_group_that_is_not_there_is_refused(tmp_path: Path, options: dict[str, str], said: str) -> None:
    write_patients(tmp_path)
    with pytest.raises(DatasetError, match=said):
        index_of(tmp_path, **options)


def test_what_belongs_together_is_known_of_an_index(tmp_path: Path) -> None:
    write_patients(tmp_path)
    (tmp_path / "im/p0_1.png").write_bytes((tmp_path / "im/p7_3.png").read_bytes())
    dataset = DatasetConfig(path=str(tmp_path / "d.csv"), group_column="patient_id")
    index = build_index(dataset, Workspace(tmp_path))
    units = units_of(index, dataset, Workspace(tmp_path))
    patients = [Path(path).name.partition("_")[0] for path in index.paths]
    of_patient = {patient: set(units.first[[one == patient for one in patients]].tolist()) for patient in set(patients)}
    assert {len(found) for found in of_patient.values()} == {1}
    assert of_patient["p0"] == of_patient["p7"]  # they share an image
    assert len(set(units.first.tolist())) == PATIENTS - 1


def test_an_image_without_a_group_is_refused_by_name(tmp_path: Path) -> None:
    write_patients(tmp_path)
    text = (tmp_path / "d.csv").read_text().replace("p3_0.png,b,p3", "p3_0.png,b,")
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DatasetError, match=r"(?s)needs a value of patient_id.*1 have none:\n  im/p3_0\.png"):
        index_of(tmp_path, group_column="patient_id")


def test_the_class_folders_of_several_splits_are_no_groups(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {f"{split}/{c}": 20 for c in "abcd" for split in ("train", "test")})
    index = build_index(DatasetConfig(path=str(tmp_path / "d")), Workspace(tmp_path))
    assert not index.notes.suspicions


def test_a_column_is_refused_for_folders(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"a": 3, "b": 3})
    with pytest.raises(DatasetError, match=r"these are folders; .*dataset\.group_from"):
        build_index(DatasetConfig(path=str(tmp_path / "d"), group_column="patient"), Workspace(tmp_path))


def test_data_split_keeps_patients_apart_and_writes_them_down(ask: Ask, tmp_path: Path) -> None:
    write_patients(tmp_path)
    answer = ask("data", "split", "d.csv", "--group-column", "patient_id", "--test-fraction", "0.2")
    assert answer.code == 0, answer.err
    assert "group_column: patient_id" in answer.out
    listed = {}
    for name in ("train", "valid", "test"):
        with (tmp_path / f"d-splits/{name}.csv").open(newline="") as file:
            listed[name] = list(csv.DictReader(file))
    found = {name: {row["patient_id"] for row in rows} for name, rows in listed.items()}
    assert sum(map(len, found.values())) == PATIENTS
    dataset = DatasetConfig(path="d-splits", csv=CsvConfig(images=".."), group_column="patient_id")
    assert not build_index(dataset, Workspace(tmp_path)).notes.leaks


def test_data_split_asks_about_a_column_that_it_does_not_use(ask: Ask, tmp_path: Path) -> None:
    write_patients(tmp_path)
    answer = ask("data", "split", "d.csv")
    assert "do images with the same patient_id belong together?" in answer.err


def test_copies_join_their_groups() -> None:
    units = joined(np.array([0, 1, 0, 3, 4, 5]), np.array([7, 7, 8, 8, 9, 2]))
    assert units.first.tolist() == [0, 0, 0, 0, 4, 5]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=4, max_size=120),
    st.floats(0.05, 0.6),
    st.integers(0, 3),
)
def test_groups_are_drawn_whole_and_leave_every_class_in_training(
    images: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    labels, groups = np.array(images).T
    drawn = draw_groups(labels, groups, fraction, np.random.default_rng(seed))
    taken = np.isin(groups, drawn)
    assert set(labels[~taken]) == set(labels)
    largest = max(Counter(groups.tolist()).values())
    assert taken.sum() <= fraction * len(labels) + max(largest, 1) * len(set(labels.tolist()))


def test_many_equal_groups_give_the_share_asked_for() -> None:
    groups = np.repeat(np.arange(200), 5)
    labels = np.repeat(np.arange(200) % 4, 5)
    taken = np.isin(groups, draw_groups(labels, groups, 0.15, np.random.default_rng(0)))
    assert np.abs(np.bincount(labels[taken]) - 0.15 * 250).max() <= 2.5, "half a group"
