"""What a data set is like, as far as a first search space depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeper.config.dataset import DatasetConfig
from sweeper.curation.file_facts import look_at_files
from sweeper.data.image_facts import WholeImage
from sweeper.data.index import ImageIndex, build_index
from sweeper.data.notes import GIVEN, Notes
from sweeper.errors import DatasetError
from sweeper.paths import Workspace

LOOKED_AT = 200
"""Images that are opened: their sides and colours are much alike in most data sets."""


@dataclass(frozen=True)
class DataFacts:
    """A data set.

    Attributes:
        path: Where it is, as it was named.
        train, val, test: How many images each split has; 0 for none.
        classes: How many there are.
        fewest, most: Training images of the smallest class that has any, and of the largest.
        side: The shorter side of most images in pixels, the median of those that were opened.
        smallest_side, largest_side: The range of it.
        grey: Whether all images that were opened are without colour.
        drawn: Where the validation split comes from where it was not given.
        notes: What else was noticed of files, labels and splits.
    """

    path: str
    train: int
    val: int
    test: int
    classes: int
    fewest: int
    most: int
    side: int
    smallest_side: int
    largest_side: int
    grey: bool
    drawn: str | None
    notes: Notes
    unreadable: int = 0
    """Of the images that were opened."""

    @property
    def imbalance(self) -> float:
        """How many times as many images the largest class has as the smallest."""
        return self.most / self.fewest


def look_at_data(path: str, workspace: Workspace) -> DataFacts:
    """Find the images of a data set and open some of them. Raises DatasetError where it cannot be used."""
    index = build_index(DatasetConfig(path=path), workspace)
    opened = _opened(index)
    seen = [image for image in opened if isinstance(image, WholeImage)]
    if not seen:
        raise DatasetError(f"{index.root}: none of {len(opened)} images that were opened can be read: {opened[0]}")
    sides = np.array([min(image.width, image.height) for image in seen])
    counts = np.bincount(index.labels[index.splits["train"]], minlength=len(index.classes))
    origin = index.notes.origin.get("val", GIVEN)
    return DataFacts(
        path=path,
        train=len(index.splits["train"]),
        val=len(index.splits["val"]),
        test=len(index.splits["test"]) if "test" in index.splits else 0,
        classes=len(index.classes),
        fewest=int(counts[counts > 0].min()),
        most=int(counts.max()),
        side=int(np.median(sides)),
        smallest_side=int(sides.min()),
        largest_side=int(sides.max()),
        grey=all(image.mode in ("L", "LA", "1", "I", "F") or image.mode.startswith("I;16") for image in seen),
        drawn=None if origin == GIVEN else origin,
        notes=index.notes,
        unreadable=len(opened) - len(seen),
    )


def _opened(index: ImageIndex) -> list[Any]:
    """Open some images from all over the data set, each time the same ones; return each, or why it cannot be read."""
    rows = np.linspace(0, len(index.paths) - 1, min(LOOKED_AT, len(index.paths)), dtype=np.int64)
    return list(look_at_files([str(index.root / index.paths[row]) for row in rows.tolist()]))
