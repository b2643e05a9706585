"""Columns of a CSV data set beside path, label and split, as numbers: one of them may say what belongs together."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sweeper.data.csv_columns import Columns, plain_name
from sweeper.data.listing import Column
from sweeper.errors import DatasetError

MOST_COLUMNS = 64
MOST_DIFFERENT = 0.75
"""Share of the rows that may have a value of their own; a column of more groups nothing."""


@dataclass
class _Growing:
    """A column that is being read: the number of every value, and a number a row."""

    numbers: dict[str, int] = field(default_factory=dict)
    codes: array[int] = field(default_factory=lambda: array("i"))

    def add(self, value: str) -> None:
        self.codes.append(self.numbers.setdefault(value, len(self.numbers)))

    def fill(self, rows: int) -> None:
        """Add rows of files without this column."""
        for _ in range(rows - len(self.codes)):
            self.add("")


@dataclass
class FurtherColumns:
    """The columns of all files of a data set, by name; `keep` is one that is asked for, whatever it holds."""

    keep: str | None = None
    _columns: dict[str, _Growing] = field(default_factory=dict)
    _rows: int = 0

    def of_file(self, file: Path, columns: Columns, rows: int) -> _OfFile:
        """Return what takes the rows of a file; `rows` is how many there are already.

        Of columns of one name the first is read. Raises DatasetError where it is the one that is asked for.
        """
        first: dict[str, int] = {}
        for place in columns.others:
            first.setdefault(columns.header[place], place)
        wanted = [columns.header[place] for place in columns.others if self._wanted(columns.header[place])]
        if len(wanted) > 1 and wanted.count(self.keep or "") != 1:
            raise DatasetError(
                f"{file}: {len(wanted)} columns may be the {self.keep} that is asked for: {wanted}; rename one"
            )
        places = sorted(first.values(), key=lambda place: not self._wanted(columns.header[place]))[:MOST_COLUMNS]
        growing = [self._columns.setdefault(columns.header[place], _Growing()) for place in places]
        for column in growing:
            column.fill(rows)
        return _OfFile(self, list(zip(places, growing, strict=True)))

    def values(self) -> Iterator[tuple[str, Collection[str]]]:
        for name, column in self._columns.items():
            yield name, column.numbers

    def _wanted(self, name: str) -> bool:
        return self.keep is not None and plain_name(name) == plain_name(self.keep)

    def columns(self) -> tuple[Column, ...]:
        """Return the columns in which rows share values, and the one that is to be kept in any case."""
        found = []
        for name, column in self._columns.items():
            column.fill(self._rows)
            if self._wanted(name) or 1 < len(column.numbers) <= MOST_DIFFERENT * self._rows:
                found.append(Column(name, tuple(column.numbers), np.array(column.codes, dtype=np.int32)))
        return tuple(found)


@dataclass
class _OfFile:
    """Takes the rows of one file."""

    _all: FurtherColumns
    _places: list[tuple[int, _Growing]]

    def add(self, values: list[str]) -> None:
        for place, column in self._places:
            column.add(values[place] if place < len(values) else "")
        self._all._rows += 1
