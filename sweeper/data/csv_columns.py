"""Which column of a CSV file holds the image, the label and the split: by name, in any case, or refused by name."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.config.dataset import CsvConfig
from sweeper.data.listing import enumerated
from sweeper.errors import DatasetError

PATH_COLUMNS = (
    *("path", "image", "file", "filename", "image_id", "image_name", "img"),
    *("image_path", "file_path", "filepath", "file_name", "img_path", "image_file"),
)
LABEL_COLUMNS = ("label", "class", "target", "category", "class_name", "label_name")
SPLIT_COLUMNS = ("split",)
ONE_COLUMN = "One column must hold the class of each image; a column of its own for each class is not supported."
OPTIONS = {"dataset.csv.path_column": "--path-column", "dataset.csv.label_column": "--label-column"}
NEAR = 0.75
"""Likeness from which a name is taken for a slip of another."""


@dataclass(frozen=True)
class Columns:
    """Places of the columns in a row; of `others` all that are nothing of this."""

    header: tuple[str, ...]
    path: int
    label: int
    split: int | None

    @property
    def others(self) -> list[int]:
        taken = (self.path, self.label, self.split)
        return [place for place, name in enumerate(self.header) if place not in taken and name]

    def named(self) -> dict[str, str]:
        """Return which column was taken for what."""
        split = {"split": self.header[self.split]} if self.split is not None else {}
        return {"image": self.header[self.path], "label": self.header[self.label], **split}


def find_columns(file: Path, header: Sequence[str], options: CsvConfig, *, split_is_known: bool) -> Columns:
    """Find the columns of a data set. Raises `DatasetError` with all that is missing, ambiguous or nearly right."""
    problems: list[str] = []
    path = pick(header, options.path_column, PATH_COLUMNS, "image", "dataset.csv.path_column", problems)
    label = pick(header, options.label_column, LABEL_COLUMNS, "class", "dataset.csv.label_column", problems)
    split = None if options.split_column is False else _split(header, options.split_column, split_is_known, problems)
    if path is None or label is None or problems:
        advice = "" if label is not None else f"\n{ONE_COLUMN}"
        raise DatasetError(f"{file}: line 1 has the columns {list(header)}:\n{enumerated(problems)}{advice}")
    return Columns(tuple(header), path, label, split)


def pick(
    header: Sequence[str], named: str | None, common: Sequence[str], what: str, key: str, problems: list[str]
) -> int | None:
    """Return the place of a column, by its name or by a common one in any case; None, and a problem, without one."""
    if named in header:
        return _only([place for place, name in enumerate(header) if name == named], header, what, key, problems)
    for wanted in [named] if named is not None else common:
        places = [place for place, name in enumerate(header) if plain_name(name) == plain_name(wanted)]
        if places:
            return _only(places, header, what, key, problems)
    wanted = repr(named) if named is not None else "/".join(common[:7])
    near = _near(header, [named] if named is not None else common)
    advice = f"; did you mean {near!r}? Then {_given(key, near)}" if near else f"; name it: {_given(key)}"
    problems.append(f"no column {wanted} for the {what}{advice}")
    return None


def _given(key: str, value: str = "") -> str:
    """Return where a column is named: in a search space, and by the option of the commands that look at any images."""
    in_space = f"{key}: {value}" if value else key
    option = f"{OPTIONS[key]} {shlex.quote(value)}" if key in OPTIONS and value else OPTIONS.get(key)
    return f"{in_space} (for `evaluate`, `diff` and `data`: {option})" if option else in_space


def _only(places: list[int], header: Sequence[str], what: str, key: str, problems: list[str]) -> int:
    if len(places) > 1:
        names = ", ".join(repr(header[place]) for place in places)
        remedy = f"rename or remove one, or name it: {_given(key)}"
        problems.append(f"{len(places)} columns may hold the {what}: {names}; {remedy}")
    return places[0]


def _split(header: Sequence[str], named: str | None, known: bool, problems: list[str]) -> int | None:
    """Return the place of the split column; None where there is none. One that is nearly called so is a problem."""
    found: list[str] = []
    place = pick(header, named, SPLIT_COLUMNS, "split", "dataset.csv.split_column", found)
    if place is not None or named is not None:
        problems += found
        return place
    near = _near(header, SPLIT_COLUMNS)
    if near and not known:
        problems.append(
            f"the column {near!r} is nearly called 'split'; to use it, set dataset.csv.split_column: {near}; "
            "to ignore it, set dataset.csv.split_column: false (`sweeper data`: --split-column)"
        )
    return None


def _near(header: Sequence[str], wanted: Sequence[str | None]) -> str | None:
    names = {plain_name(name): name for name in header}
    found = (difflib.get_close_matches(plain_name(name or ""), names, 1, cutoff=NEAR) for name in wanted)
    return next((names[match[0]] for match in found if match), None)


def plain_name(name: str) -> str:
    """Return a column's name without case, and with underscores for blanks and dashes."""
    return re.sub(r"[\s\-]+", "_", name.strip().lower())
