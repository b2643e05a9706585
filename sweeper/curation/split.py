"""Drawing train, validation and test lists once, before anything else is done to a data set.

Copies of an image stay on one side: a score on images that were trained on says nothing.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeper.curation.same_content import same_content
from sweeper.data.listing import Listing, Split, enumerated
from sweeper.data.splitting import Rows, Splits, split_by_fraction
from sweeper.errors import DatasetError
from sweeper.files import write_whole

FILES: dict[Split, str] = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}


@dataclass(frozen=True)
class DrawnSplits:
    """Rows of a listing by split, and what had to be done with them.

    `copies` counts images that have the same bytes as an earlier one; `rare` are the classes with too few
    different images for every split, with their number; `two_labels` lists groups of equal files that
    are in more than one class.
    """

    splits: Splits
    copies: int
    rare: dict[str, int]
    two_labels: tuple[tuple[str, ...], ...]


def draw(listing: Listing, val_fraction: float, test_fraction: float, seed: int) -> DrawnSplits:
    """Split a listing, the same share of each class, files of the same content together.

    A class of one image is trained on; of two, one is in the test split where there is one.

    Raises:
        DatasetError: the listing is split already, or a split would be empty.
    """
    _require_unsplit(listing)
    numbers = {name: number for number, name in enumerate(listing.classes)}
    labels = np.array([numbers[name] for name in listing.class_names], dtype=np.int64)
    first = same_content(listing.root, listing.paths)
    heads = np.unique(first)
    drawn = _draw_heads(labels, heads, val_fraction, test_fraction, np.random.default_rng(seed))
    splits: Splits = {split: np.flatnonzero(np.isin(first, rows)) for split, rows in drawn.items()}
    _require_images(splits, listing.root)
    different = Counter(labels[heads].tolist())
    rare = {name: different[number] for name, number in numbers.items() if 0 < different[number] < len(splits)}
    return DrawnSplits(splits, len(first) - len(heads), rare, _two_labels(listing, labels, first))


def _draw_heads(
    labels: Rows, heads: Rows, val_fraction: float, test_fraction: float, rng: np.random.Generator
) -> Splits:
    """Split one image of each content; both fractions are of all images, and test is drawn first."""
    drawn: Splits = {"train": heads}
    if test_fraction:
        drawn["train"], drawn["test"] = split_by_fraction(labels, drawn["train"], test_fraction, rng)
    rest = val_fraction / (1 - test_fraction)
    drawn["train"], drawn["val"] = split_by_fraction(labels, drawn["train"], rest, rng)
    return drawn


def _require_unsplit(listing: Listing) -> None:
    counts = Counter(split for split in listing.split_names if split)
    if counts:
        told = ", ".join(f"{count:,} {split}" for split, count in sorted(counts.items()))
        raise DatasetError(f"{listing.root}: is split already ({told}); use it as it is, or name one tree or list")
    if not listing.paths:
        raise DatasetError(f"{listing.root}: no images found; name class folders or a CSV file")


def _require_images(splits: Splits, root: Path) -> None:
    empty = [split for split, rows in splits.items() if not rows.size]
    if empty:
        raise DatasetError(
            f"{root}: the {' and the '.join(empty)} split would be empty; every class needs as many different images "
            "as there are splits for one of them to be drawn"
        )


def _two_labels(listing: Listing, labels: Rows, first: Rows) -> tuple[tuple[str, ...], ...]:
    odd = np.unique(first[labels != labels[first]])
    return tuple(tuple(listing.paths[row] for row in np.flatnonzero(first == head).tolist()) for head in odd.tolist())


def write_splits(listing: Listing, splits: Splits, folder: Path, *, force: bool) -> Path:
    """Write train.csv, valid.csv and perhaps test.csv into a folder; return the folder that their paths start from.

    That is the folder itself where all images lie below it, so that a search space need only name it;
    otherwise it is the folder of the images.

    Raises:
        DatasetError: a file is there already and `force` is not set, or another split would be left from before.
    """
    targets: dict[Split, Path] = {split: folder / name for split, name in FILES.items() if split in splits}
    _require_replaceable(targets, folder, force)
    base = folder.resolve() if listing.root.resolve().is_relative_to(folder.resolve()) else listing.root
    start = os.path.relpath(listing.root.resolve(), base.resolve())
    for split, path in targets.items():
        names = [os.path.normpath(os.path.join(start, listing.paths[row])) for row in splits[split]]  # noqa: PTH118
        content = _table(names, [listing.class_names[row] for row in splits[split]])
        write_whole(path, content.encode(errors="surrogateescape"))
    return base


def _require_replaceable(targets: dict[Split, Path], folder: Path, force: bool) -> None:
    there = [str(path) for path in targets.values() if path.exists()]
    if there and not force:
        raise DatasetError(f"{', '.join(there)}: already there; add --force to replace, or name another folder: --to")
    others = [str(path) for name in (*FILES.values(), "val.csv") if (path := folder / name) not in targets.values()]
    left = [path for path in others if Path(path).exists()]
    if left:
        raise DatasetError(f"{', '.join(left)}: would count as a split beside the new ones; move it, or name --to")


def _table(names: Sequence[str], labels: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label"))
    writer.writerows(zip(names, labels, strict=True))
    return text.getvalue()


def told(drawn: DrawnSplits) -> list[str]:
    """Return what a user should know of how the images were split."""
    lines = []
    if drawn.copies:
        lines.append(f"{drawn.copies:,} images are exact copies of others and stay on the side of the first")
    if drawn.rare:
        names = [f"{name}: {count}" for name, count in sorted(drawn.rare.items(), key=lambda pair: pair[::-1])]
        lines.append(
            f"{len(drawn.rare):,} classes have fewer different images than there are splits, and lack one of them:\n"
            + enumerated(names)
        )
    if drawn.two_labels:
        groups = [" = ".join(group) for group in drawn.two_labels]
        lines.append(f"{len(groups):,} pictures are in several classes:\n{enumerated(groups)}\nCorrect their labels.")
    return lines
