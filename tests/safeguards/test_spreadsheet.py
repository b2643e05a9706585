"""Tables that spreadsheets open: nothing in them is a formula, and every text comes back."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import sweeper
from sweeper.config.dataset import CsvConfig, DatasetConfig
from sweeper.config.sweep import SweepConfig
from sweeper.confirm.run import _repetitions_csv
from sweeper.curation.clean import Suspect, suspects_csv
from sweeper.curation.split import DrawnSplits, write_splits
from sweeper.data.csv_layout import read_names
from sweeper.data.exclude import excluded_rows
from sweeper.data.index import read_listing
from sweeper.data.listing import Listing
from sweeper.data.notes import Notes
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from sweeper.predict.inputs import InputImage
from sweeper.predict.predict import Prediction
from sweeper.predict.predictions_csv import predictions_csv
from sweeper.results import TrialRow, TrialState
from sweeper.safeguards.spreadsheet import read_cell, read_row, read_table, table, written_cell
from sweeper.scores.confusion import read_confusion, write_confusion
from sweeper.study.summary import trials_csv

ANY_TEXT = st.text(st.characters() | st.sampled_from("=+-@'\\\t\r\n\"; ,x0\udce9\u202e"))


@given(ANY_TEXT)
@example("'\\x41")
@example("'=1")
@example("=a\\nb\n")
def test_every_text_comes_back(text: str) -> None:
    assert read_cell(written_cell(text)) == text


@given(st.lists(st.lists(ANY_TEXT, min_size=2, max_size=3), min_size=1, max_size=4))
def test_a_table_comes_back_by_any_reader_of_csv_a_line_a_row(rows: list[list[str]]) -> None:
    written = table(rows)
    assert written.count("\n") == len(rows)
    assert [read_row(row) for row in csv.reader(io.StringIO(written, newline=""))] == rows


@given(ANY_TEXT)
def test_no_cell_begins_like_a_formula_unless_it_is_a_number(text: str) -> None:
    for delimiter in (",", ";", "\t"):
        for cell in next(csv.reader([table([[text, "end"]])], delimiter=delimiter)):
            assert not re.match(r"[=+\-@\t\r]", cell) or re.fullmatch(
                r"[+-]?[\d.]+(e[+-]?\d+)?|[+-]?(inf|nan)", cell, re.I
            )


@pytest.mark.parametrize(
    "text", ["-0.5", "+1", "1e-3", "-1.5E+10", "nan", "-inf", "cat", "x=1", "a-b", "'tis", "a\\b", "Ä 😀"]
)
def test_numbers_and_ordinary_names_are_written_as_they_are(text: str) -> None:
    assert written_cell(text) == text
    assert read_cell(text) == text


def test_numbers_of_ours_stay_numbers() -> None:
    assert table([["score", -0.5, 3, None, "=1+1", "a;=1"]]) == 'score,-0.5,3,,"\'=1+1","a;=1"\n'


HOSTILE = [
    "=1+1",
    "+x",
    "-x",
    "@x",
    "\tx",
    "\rx",
    "x;=1",
    "'=x",
    "a\nb",
    "caf\udce9",
    "\u202ex",
    " x ",
    'q"q',
    "-0.5",
    "'tis",
]


def test_a_table_is_read_row_by_row_with_the_lines_of_the_file() -> None:
    text = table([["path", "=label"], ["a,b", 'q"q']]) + "\n , \nlast\n"
    assert list(read_table(text.splitlines(keepends=True))) == [
        (1, ["path", "=label"]),
        (2, ["a,b", 'q"q']),
        (5, ["last"]),
    ]
    with pytest.raises(ValueError, match="line"):
        list(read_table(["a\rb\n"]))


@pytest.mark.parametrize("later", ["", 'c,"x"\n'])
def test_a_quote_that_is_not_closed_swallows_no_rows(later: str) -> None:
    text = 'path,note\na,x\n"b,blurry\n' + "d,x\n" * 20 + later
    with pytest.raises(ValueError, match="lines 3 to"):
        list(read_table(text.splitlines(keepends=True)))
    assert list(read_table(['a,5" pipe\n', 'b,"5"" pipe"\n'])) == [(1, ["a", '5" pipe']), (2, ["b", '5" pipe'])]


def test_names_come_back_from_every_table_that_we_read(tmp_path: Path) -> None:
    write_confusion(tmp_path / "confusion.csv", np.eye(len(HOSTILE), dtype=np.int64), HOSTILE)
    assert read_confusion(tmp_path / "confusion.csv")[1] == HOSTILE
    files = [f"{name}.png" for name in HOSTILE]
    for file in files:
        Image.new("RGB", (8, 8)).save(tmp_path / file)
    candidates = [
        Suspect(row, file, name, 1.0, "knn", name) for row, (file, name) in enumerate(zip(files, HOSTILE, strict=True))
    ]
    (tmp_path / "list.csv").write_text(suspects_csv(candidates))
    assert [image.path for image in read_names(tmp_path / "list.csv", CsvConfig())] == [
        str(tmp_path / file) for file in files
    ]
    listing = Listing(tmp_path, files, HOSTILE, [None] * len(files), tuple(HOSTILE))
    assert excluded_rows(listing, tmp_path / "list.csv").tolist() == list(range(len(files)))
    drawn = DrawnSplits({"train": np.arange(len(files))}, Notes(), {})
    write_splits(listing, drawn, tmp_path / "lists", force=False)
    config = CsvConfig(images="..")
    again = read_listing(DatasetConfig(path=str(tmp_path / "lists"), csv=config), Workspace(tmp_path))
    assert dict(zip(again.paths, again.class_names, strict=True)) == dict(zip(files, HOSTILE, strict=True))


def test_every_table_that_we_write_is_written_so() -> None:
    """No file but this one writes rows of its own."""
    package = Path(sweeper.__file__).parent
    writers = [path.name for path in package.rglob("*.py") if re.search(r"csv\.writer|DictWriter", path.read_text())]
    assert writers == []
    texts = [predictions_csv([Prediction(InputImage("=x.png", "=x.png"), ("@cat",), (0.5,), "")], 1)]
    row = TrialRow(
        number=0, state=TrialState.FAILED, value=-0.5, best_epoch=1, epochs=1, seconds=1.0, ended_ms=1,
        params={"+x": "=1", "lr": -0.5, "trial": 0, "seed": 1}, config_json=None, reason="=cmd|' /C calc'!A0",
    )  # fmt: skip
    sweep = SweepConfig.model_validate({"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}})
    texts += [trials_csv([row], sweep), _repetitions_csv([row])]
    for text in texts:
        for cells in csv.reader(io.StringIO(text)):
            assert not [cell for cell in cells if cell[:1] in "=+@" and cell]
            assert [cell for cell in cells if cell.startswith("-")] in ([], ["-0.5"], ["-0.5", "-0.5"])


def test_a_name_that_no_file_can_have_is_reported_as_any_other_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n'\\x00=x,a\n'\\ud800=x,a\n'=\\xzz,a\n")
    names = read_names(tmp_path / "list.csv", CsvConfig())
    assert [bool(name.reason) for name in names] == [True, True, True]
    with pytest.raises(DatasetError, match="3 rows cannot be used"):
        read_listing(DatasetConfig(path=str(tmp_path / "list.csv")), Workspace(tmp_path))
