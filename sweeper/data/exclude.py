"""`dataset.exclude`: a list of images that are left out of the training; the files stay where they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sweeper.data.csv_columns import PATH_COLUMNS, pick
from sweeper.data.listing import Listing, enumerated
from sweeper.data.splitting import Rows, Splits
from sweeper.errors import DatasetError
from sweeper.safeguards.spreadsheet import delimiter_of, read_table


def excluded_rows(listing: Listing, file: Path) -> Rows:
    """Return the rows of the images that a file lists, sorted.

    Raises:
        DatasetError: the file cannot be read, or lists what is not an image of the data set.
    """
    listed = _listed_paths(file)
    rows_of = {path: row for row, path in enumerate(listing.paths)}
    root = os.path.join(listing.root, "")  # noqa: PTH118
    names = [os.path.normpath(name).removeprefix(root) for name in listed]
    absent = set(listing.absent)
    unknown = [name for name, path in zip(listed, names, strict=True) if path not in rows_of and path not in absent]
    if unknown:
        raise DatasetError(
            f"{file}: {len(unknown):,} of {len(listed):,} rows name no image of the data set in {listing.root}:\n"
            f"{enumerated(unknown)}\nPaths are relative to that folder. Correct or remove these rows (dataset.exclude)."
        )
    return np.array(sorted({rows_of[path] for path in names if path in rows_of}), dtype=np.int64)


def without(splits: Splits, left_out: Rows, from_splits: Sequence[str]) -> Splits:
    """Take rows out of some splits; the others are not touched."""
    return {
        split: np.setdiff1d(rows, left_out, assume_unique=True) if split in from_splits else rows
        for split, rows in splits.items()
    }


def _listed_paths(file: Path) -> list[str]:
    """Read the path column of a CSV file, or a path a line of any other text."""
    try:
        text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error.strerror}); correct dataset.exclude") from error
    if file.suffix.lower() != ".csv":
        return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        lines = text.splitlines(keepends=True) or [""]
        header, *rows = [cells for _, cells in read_table(lines, delimiter_of(lines[0]))] or [[]]
    except ValueError as error:
        raise DatasetError(f"{file}: cannot be read as CSV ({error}); correct it (dataset.exclude)") from error
    problems: list[str] = []
    place = pick(header, None, PATH_COLUMNS, "image", "path", problems)
    if place is None:
        raise DatasetError(f"{file}: line 1 has the columns {header} and none is {'/'.join(PATH_COLUMNS)}; name one so")
    if problems:
        raise DatasetError(f"{file}: {'; '.join(problems)}")
    return [row[place] for row in rows if len(row) > place and row[place]]
