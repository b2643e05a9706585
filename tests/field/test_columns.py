"""Columns of other people's tables: found in any case, or refused with the nearest; a split is never overlooked."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.data.csv_columns import LABEL_COLUMNS, PATH_COLUMNS, find_columns
from sweeper.data.index import ImageIndex, build_index
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.pictures import write_class_folders


def index_of(root: Path, header: str, rows: list[str], **csv: object) -> ImageIndex:
    write_class_folders(root, {"im": 6})
    (root / "d.csv").write_text("\n".join([header, *rows]) + "\n")
    return build_index(DatasetConfig(path=str(root / "d.csv"), csv=CsvConfig(images="im", **csv)), Workspace(root))


def rows(form: str) -> list[str]:
    splits = ("train", "train", "train", "train", "val", "test")
    return [form.format(f"{n:04d}.png", "ab"[n % 2], splits[n]) for n in range(6)]


@pytest.mark.parametrize("split", ["Split", "SPLIT", " split ", "sPLIT"])
@pytest.mark.parametrize("names", ["Path,Label", "IMAGE PATH,Class Name", "file-name,TARGET"])
def test_columns_are_found_in_any_case(tmp_path: Path, names: str, split: str) -> None:
    index = index_of(tmp_path, f"{names},{split}", rows("{},{},{}"))
    assert {name: len(found) for name, found in index.splits.items()} == {"train": 4, "val": 1, "test": 1}
    assert index.notes.columns == {
        "image": names.split(",")[0],
        "label": names.split(",")[1],
        "split": split.strip(),
    }
    assert set(index.notes.origin.values()) == {"given"}


@pytest.mark.parametrize("split", ["subset", "Fold", "partition", "phase", "use"])
def test_a_split_under_another_name_is_refused_by_name(tmp_path: Path, split: str) -> None:
    with pytest.raises(DatasetError, match=f"column '{split}' holds test, train, val and is not called split") as said:
        index_of(tmp_path, f"path,label,{split}", rows("{},{},{}"))
    assert f"dataset.csv.split_column: {split}" in str(said.value)
    assert len(index_of(tmp_path, f"path,label,{split}", rows("{},{},{}"), split_column=split).splits) == 3
    ignored = index_of(tmp_path, f"path,label,{split}", rows("{},{},{}"), split_column=False)
    assert ignored.notes.origin["val"].startswith("0.2 of all images, drawn")


@pytest.mark.parametrize("split", ["splits", "splt", "data_split", "Split_1"])
def test_a_column_that_is_nearly_called_split_is_refused_whatever_it_holds(tmp_path: Path, split: str) -> None:
    if split == "data_split":  # known by what it holds
        form, rule = "{},{},{}", "holds test, train, val"
    else:
        form, rule = "{},{},7", f"the column '{split}' is nearly called 'split'"
    with pytest.raises(DatasetError, match=rule):
        index_of(tmp_path, f"path,label,{split}", rows(form))


def test_a_named_column_is_found_in_any_case_and_a_slip_is_answered_with_the_nearest(tmp_path: Path) -> None:
    assert index_of(tmp_path, "pic,kind", rows("{},{}"), path_column="PIC", label_column="Kind").classes == ("a", "b")
    with pytest.raises(DatasetError, match=r"no column 'kindd' for the class; did you mean 'kind'\?"):
        index_of(tmp_path, "path,kind", rows("{},{}"), label_column="kindd")
    with pytest.raises(DatasetError, match=r"no column label/class.* for the class; did you mean 'labels'\?"):
        index_of(tmp_path, "path,labels", rows("{},{}"))


@pytest.mark.parametrize("header", ["path,label,Label", "Path,path,label", "path,label,split,Split"])
def test_two_columns_of_one_name_are_refused_by_name(tmp_path: Path, header: str) -> None:
    form = "{},{},{},{}" if header.count(",") == 3 else "{},{},{}"
    filled = [form.format(f"{n:04d}.png", "ab"[n % 2], "train", "train") for n in range(6)]
    with pytest.raises(DatasetError, match="2 columns may hold the"):
        index_of(tmp_path, header, filled)


@given(
    st.sampled_from(PATH_COLUMNS),
    st.sampled_from(LABEL_COLUMNS),
    st.data(),
)
def test_any_spelling_of_a_common_name_is_that_column(path: str, label: str, data: st.DataObject) -> None:
    def spelt(name: str) -> str:
        letters = [data.draw(st.sampled_from([c.lower(), c.upper()])) for c in name]
        return "".join(letters).replace("_", data.draw(st.sampled_from(["_", " ", "-"])))

    header = [spelt(label), "else", spelt(path)]
    found = find_columns(Path("d.csv"), header, CsvConfig(), split_is_known=False)
    assert (found.path, found.label, found.split) == (2, 0, None)
