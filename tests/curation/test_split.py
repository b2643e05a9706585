"""Lists drawn from a data set: every image once, copies on one side, the same for the same seed."""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sweeper.commands.data.split import _dataset_section
from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.curation import split
from sweeper.curation.class_codes import decoded_labels, read_class_codes
from sweeper.curation.image_list import read_image_list
from sweeper.curation.split import DrawnSplits, draw, told, write_splits
from sweeper.data.index import build_index, read_listing
from sweeper.data.listing import Listing
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from sweeper.safeguards.spreadsheet import read_cell
from tests.functional.answer import Ask, ask
from tests.pictures import write_class_folders, write_picture

__all__ = ["ask"]  # a fixture


def drawn_from(listing: Listing, val: float, test: float, seed: int) -> DrawnSplits:
    dataset = DatasetConfig(path=str(listing.root), val_fraction=val, test_fraction=test, split_seed=seed)
    return draw(listing, dataset, Path("/dev/null/kept"))


def listed(path: Path, **csv_options: str) -> Listing:
    return read_listing(DatasetConfig(path=str(path), csv=CsvConfig(**csv_options)), Workspace(path.parent))


@settings(max_examples=60)
@given(
    contents=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=4, max_size=60),
    val=st.floats(0.05, 0.5),
    test=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 5),
)
def test_every_image_is_in_one_split_and_copies_are_together(
    contents: list[tuple[int, int]], val: float, test: float, seed: int
) -> None:
    """Each image is drawn as (class, content)."""
    different = Counter(label for label, _ in set(contents))
    assume(max(different.values()) >= (3 if test else 2))  # otherwise a split would be empty, and that is refused
    keys = [repr(pair) for pair in contents]
    first = np.array([keys.index(key) for key in keys])
    names = [str(label) for label, _ in contents]
    listing = Listing(
        Path("d"), [str(n) for n in range(len(names))], names, [None] * len(names), tuple(sorted(set(names)))
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "copies", lambda *_: first)
        splits = drawn_from(listing, val, test, seed).splits
        again = drawn_from(listing, val, test, seed).splits
    side = {row: name for name, rows in splits.items() for row in rows.tolist()}
    assert sorted(row for rows in splits.values() for row in rows.tolist()) == list(range(len(names)))
    assert all(side[row] == side[head] for row, head in enumerate(first.tolist()))
    assert {names[row] for row in splits["train"]} == set(names)
    assert all(np.array_equal(splits[name], again[name]) for name in splits)


def test_the_lists_are_a_data_set_and_copies_and_rare_classes_are_named(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"cat": 10, "dog": 10, "rare": 1})
    for copy in range(5):
        (root / "cat" / f"copy{copy}.png").write_bytes((root / "cat/0003.png").read_bytes())
    (root / "dog/copy.png").write_bytes((root / "cat/0004.png").read_bytes())
    drawn = drawn_from(listed(root), 0.25, 0.0, 1)
    base = write_splits(listed(root), drawn, tmp_path, force=False)
    assert base == tmp_path.resolve()
    index = build_index(DatasetConfig(path=str(tmp_path), layout="csv"), workspace)
    assert {name: len(rows) for name, rows in index.splits.items()} == {n: len(r) for n, r in drawn.splits.items()}
    sides = {index.paths[row]: name for name, rows in index.splits.items() for row in rows}
    assert len({sides[f"d/cat/{name}.png"] for name in ("0003", "copy0", "copy1", "copy2", "copy3", "copy4")}) == 1
    text = "\n".join(told(drawn))
    assert "6 images are exact copies" in text
    assert "rare: 1" in text
    assert "cat/0004.png = dog/copy.png" in text


def test_images_outside_the_folder_of_the_lists_are_named_from_their_own(tmp_path: Path, workspace: Workspace) -> None:
    root = write_class_folders(tmp_path / "d", {"cat": 4, "dog": 4})
    base = write_splits(listed(root), drawn_from(listed(root), 0.25, 0.25, 0), tmp_path / "lists", force=False)
    dataset = DatasetConfig(path=str(tmp_path / "lists"), csv=CsvConfig(images="../d"))
    assert base == root
    assert {name: len(rows) for name, rows in build_index(dataset, workspace).splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }


@pytest.mark.parametrize("column", ["label", "Path", "patient"])
def test_a_column_of_groups_takes_no_name_that_has_a_meaning_in_the_lists(tmp_path: Path, column: str) -> None:
    lines = [f"name,diagnosis,{column}"]
    for number in range(12):
        write_picture(tmp_path / f"{number}.png", number, 8, 8)
        lines.append(f"{number}.png,{'ab'[number % 2]},p{number % 6}")
    (tmp_path / "d.csv").write_text("\n".join(lines))
    csv_columns = CsvConfig(path_column="name", label_column="diagnosis")
    dataset = DatasetConfig(path=str(tmp_path / "d.csv"), csv=csv_columns, group_column=column, val_fraction=0.5)
    listing = read_listing(dataset, Workspace(tmp_path))
    write_splits(listing, draw(listing, dataset, tmp_path / "kept"), tmp_path / "lists", force=False)
    header, *rows = csv.reader((tmp_path / "lists" / "train.csv").read_text().splitlines())
    assert header == ["path", "label", column if column == "patient" else "group"]
    assert {label for _, label, _ in rows} == {"a", "b"}
    assert {group[:1] for _, _, group in rows} == {"p"}


def test_lists_are_replaced_only_by_force_and_no_old_split_stays_beside_them(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "d", {"cat": 4, "dog": 4})
    splits = drawn_from(listed(root), 0.25, 0.0, 0)
    write_splits(listed(root), splits, tmp_path, force=False)
    with pytest.raises(DatasetError, match="--force"):
        write_splits(listed(root), splits, tmp_path, force=False)
    write_splits(listed(root), splits, tmp_path, force=True)
    (tmp_path / "test.csv").write_text("mine")
    with pytest.raises(DatasetError, match=r"test\.csv: would count as a split"):
        write_splits(listed(root), splits, tmp_path, force=True)
    assert (tmp_path / "test.csv").read_text() == "mine"


def test_a_data_set_with_splits_is_not_split_again(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "d", {"train/cat": 2, "train/dog": 2, "val/cat": 1})
    with pytest.raises(DatasetError, match=r"split already \(4 train, 1 val\)"):
        drawn_from(listed(root), 0.2, 0.0, 0)


@pytest.mark.parametrize("text", ['{"cat": 0, "dog": 1}', '{"0": "cat", "1": "dog"}'])
def test_class_codes_are_read_either_way_round(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    codes = read_class_codes(tmp_path / "c.json", {"0", "1", "dog"})
    assert decoded_labels(["1", "0", "dog"], codes, tmp_path) == ["dog", "cat", "dog"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "needs a JSON object"),
        ("{", "cannot be read as JSON"),
        ('{"cat": 0, "dog": 0}', "same code 0"),
        ('{"0": "cat", "1": "cat"}', "every class has one code"),
        ('{"cat": "dog"}', "needs classes and whole numbers"),
        ('{"cat": [1]}', "every value is a name or a whole number"),
    ],
)
def test_a_file_that_encodes_no_classes_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_class_codes(tmp_path / "c.json", {"0"})


def test_names_that_are_numbers_are_told_from_codes_by_the_labels(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"1": 0, "2": 1, "3": 2}')
    codes = read_class_codes(file, {"0", "1", "2"})
    assert decoded_labels(["0", "1", "2"], codes, file) == ["1", "2", "3"]
    with pytest.raises(DatasetError, match="1 labels are not in it:\n  3"):
        decoded_labels(["0", "3"], codes, file)
    assert decoded_labels(["1", "3"], read_class_codes(file, {"1", "3"}), file) == ["0", "2"]


def test_codes_that_can_be_read_either_way_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"0": 0, "1": 2, "2": 1, "3": 3}')
    with pytest.raises(DatasetError, match=r'\{"1": "2"\} may give class 1 the code 2, or the code 1 to class 2'):
        read_class_codes(file, {"0", "1", "2", "3"})
    file.write_text('{"0": 0, "1": 1}')
    assert read_class_codes(file, {"0", "1"}) == {"0": "0", "1": "1"}


def test_a_label_without_a_class_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="1 labels are not in it:\n  7"):
        decoded_labels(["0", "7"], {"0": "cat"}, tmp_path / "c.json")


def test_paths_with_commas_quotes_and_line_breaks_survive(tmp_path: Path, workspace: Workspace) -> None:
    names = ['a,"b', "line\nbreak", "größe"]
    for seed in range(9):
        write_picture(tmp_path / "d" / "cat" / f"{names[seed % 3]}{seed}.png", seed)
        write_picture(tmp_path / "d" / "d;g" / f"{names[seed % 3]}{seed}.png", 100 + seed)
    listing = listed(tmp_path / "d")
    write_splits(listing, drawn_from(listing, 0.3, 0.0, 0), tmp_path, force=False)
    text = (tmp_path / "train.csv").read_text() + (tmp_path / "valid.csv").read_text()
    rows = csv.DictReader(io.StringIO(text, newline=""))
    assert {read_cell(row["path"]) for row in rows} == {
        "path",
        *(f"d/{path}" for path in listing.paths),
    }  # with the second header


def test_a_folder_one_level_too_high_is_refused_with_the_right_one(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "download" / "photos", {"cat": 6, "dog": 6})
    high = tmp_path / "download"
    with pytest.raises(DatasetError, match="the class folders are not in it but in photos"):
        drawn_from(listed(high), 0.2, 0.0, 0)
    with pytest.raises(DatasetError, match="the class folders are not in it but in photos"):
        read_image_list(high, CsvConfig(), Workspace(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_the_section_of_a_search_space_finds_the_images_behind_a_link(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "disk" / "deep" / "photos", {"cat": 6, "dog": 6})
    (tmp_path / "home" / "me").mkdir(parents=True)
    data = tmp_path / "home" / "me" / "data"
    data.symlink_to(tmp_path / "disk" / "deep", target_is_directory=True)
    listing = listed(data / "photos")
    folder = data / "photos-splits"
    drawn = drawn_from(listing, 0.2, 0.0, 0)
    base = write_splits(listing, drawn, folder, force=False)
    section = yaml.safe_load(_dataset_section(folder, base, None, listing.classes))
    found = build_index(DatasetConfig.model_validate(section), Workspace(tmp_path))
    assert len(found.paths) == 12


def test_a_list_that_is_split_already_is_split_anew_where_its_column_is_ignored(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path, {"cat": 6, "dog": 6})
    rows = [f"{name}/{number:04d}.png,{name},train" for name in ("cat", "dog") for number in range(6)]
    (tmp_path / "list.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    refused = ask("data", "split", "list.csv")
    assert refused.code == 3
    assert "--split-column false" in refused.err
    anew = ask("data", "split", "list.csv", "--split-column", "false", "--val-fraction", "0.5")
    assert anew.code == 0, anew.err
    assert "6 train, 6 val images of 2 classes" in anew.out
