"""What every layout hands over: the image files, and what is known of their class and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sweeper.safeguards.printable import one_line

Split = Literal["train", "val", "test"]

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""How people name their splits, in lower case."""


@dataclass(frozen=True)
class Column:
    """A column of a CSV data set that is neither path nor label nor split: `codes` [N] are places in `values`."""

    name: str
    values: tuple[str, ...]
    codes: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Listing:
    """The images of a data set as found, before any split is drawn.

    `paths`, `class_names` and `split_names` run in parallel, one item an image. Paths are relative
    to `root`. A split of None means that the images come as one and are still to be split.
    `classes` holds every class in its order, including those without an image. `others` counts files that
    are no images by their kind, `skipped` rows without a label by what stood there. `columns` says which columns of
    a CSV file were taken for what, `further` holds those of the others that might group images, and `files` are the
    lists that were read. `merged` are classes that were written in several ways and made one, `absent` the names in a
    CSV file of files that are not there.
    """

    root: Path
    paths: Sequence[str]
    class_names: Sequence[str]
    split_names: Sequence[Split | None]
    classes: tuple[str, ...]
    others: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    further: tuple[Column, ...] = ()
    files: tuple[Path, ...] = ()
    merged: tuple[tuple[str, ...], ...] = ()
    absent: tuple[str, ...] = ()

    def in_path_order(self) -> Listing:
        """Return the same images in the order of their paths."""
        order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        return replace(
            self,
            paths=[self.paths[row] for row in order],
            class_names=[self.class_names[row] for row in order],
            split_names=[self.split_names[row] for row in order],
            further=tuple(replace(column, codes=column.codes[order]) for column in self.further),
        )


def enumerated(items: Sequence[str], limit: int = 10) -> str:
    """Write the first items, which may hold any names, on a line each, and how many more there are."""
    lines = [f"  {one_line(item)}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"  and {len(items) - limit:,} more")
    return "\n".join(lines)


def in_class_order(names: set[str]) -> tuple[str, ...]:
    """Sort class names, as numbers where all of them are whole numbers, so that 10 follows 9."""
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=_by_number))
    return tuple(sorted(names))


def _by_number(name: str) -> tuple[int, str, str]:
    """Order digits by the number they write, however many they are."""
    digits = name.lstrip("0")
    return len(digits), digits, name
