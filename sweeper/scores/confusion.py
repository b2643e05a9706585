"""A confusion matrix as a file: CSV with the class names, which any program reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sweeper.files import write_whole
from sweeper.safeguards.outputs import Kind
from sweeper.safeguards.spreadsheet import read_table, table

Confusion = npt.NDArray[np.int64]  # [C, C]: rows true, columns predicted

CORNER = "true \\ predicted"
CONFUSION = Kind("confusion matrix", re.compile(re.escape(CORNER.encode()) + b"[,\n]"))


def write_confusion(path: Path, confusion: Confusion, classes: Sequence[str]) -> None:
    """Write one row for each true class, one column for each predicted one."""
    rows = [[name, *row] for name, row in zip(classes, confusion.tolist(), strict=True)]
    write_whole(path, table([[CORNER, *classes], *rows]))


def read_confusion(path: Path) -> tuple[Confusion, list[str]]:
    """Read what `write_confusion` wrote: the matrix and the class names. Raises ValueError for a file that is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = [cells for _, cells in read_table(file)]
        names = header[1:]
        matrix = np.array([[int(cell) for cell in row[1:]] for row in rows], dtype=np.int64)
        if header[0] != CORNER or [row[0] for row in rows] != names:
            raise ValueError("its rows and columns are not of the same classes")
        if matrix.shape != (len(names), len(names)) or matrix.min(initial=0) < 0:
            raise ValueError("it is not a square table of counts")
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} holds no confusion matrix of sweeper ({error}); it may be damaged") from error
    return matrix, names
