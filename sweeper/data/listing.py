"""What every layout hands over: the image files, and what is known of their class and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
class Listing:
    """The images of a data set as found, before any split is drawn.

    `paths`, `class_names` and `split_names` run in parallel, one item an image. Paths are relative
    to `root`. A split of None means that the images come as one and are still to be split.
    `classes` holds every class in its order, including those without an image.
    """

    root: Path
    paths: Sequence[str]
    class_names: Sequence[str]
    split_names: Sequence[Split | None]
    classes: tuple[str, ...]


def enumerated(items: Sequence[str], limit: int = 10) -> str:
    """Write the first items on a line each, and how many more there are."""
    lines = [f"  {item}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"  and {len(items) - limit:,} more")
    return "\n".join(lines)


def in_class_order(names: set[str]) -> tuple[str, ...]:
    """Sort class names, as numbers where all of them are whole numbers, so that 10 follows 9."""
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
