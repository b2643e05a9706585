"""Drawing train, validation and test lists once, before anything else is done to a data set.

They are the splits that a study of the same settings would draw; here they are written down.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeper.config.dataset import DatasetConfig
from sweeper.data.copies import copies
from sweeper.data.csv_columns import LABEL_COLUMNS, PATH_COLUMNS, SPLIT_COLUMNS, plain_name
from sweeper.data.fingerprint import file_states
from sweeper.data.folder_layout import refuse_another_level
from sweeper.data.groups import Grouping, grouping
from sweeper.data.index import label_numbers
from sweeper.data.listing import Listing, Split, enumerated
from sweeper.data.notes import Notes
from sweeper.data.splits import drawn_splits
from sweeper.data.splitting import Rows, Splits
from sweeper.errors import DatasetError
from sweeper.files import part_of
from sweeper.safeguards.quantity import quantity
from sweeper.safeguards.spreadsheet import table
from sweeper.safeguards.written_files import WrittenFiles

GROUP = "group"
"""What the column of groups is called in the lists, where it has no name of its own."""

FILES: dict[Split, str] = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}


@dataclass(frozen=True)
class DrawnSplits:
    """Rows of a listing by split, and what was noticed of them.

    `rare` are the classes with too few different images for every split, with their number; `groups` what images
    belong together by.
    """

    splits: Splits
    notes: Notes
    rare: dict[str, int]
    groups: Grouping | None = None


def draw(listing: Listing, dataset: DatasetConfig, cache: Path) -> DrawnSplits:
    """Split a listing as a study does: the same share of each class, copies and groups together.

    A class of one image is trained on; of two, one is in the test split where there is one.

    Raises:
        DatasetError: the listing is split already, or a split would be empty.
    """
    _require_unsplit(listing)
    refuse_another_level(listing, str(listing.root), "name")
    labels = label_numbers(listing)
    first = copies(listing.root, listing.paths, file_states(listing.root, listing.paths), cache)
    splits, notes, _ = drawn_splits(listing, labels, first, dataset)
    _require_images(splits, listing.root)
    return DrawnSplits(splits, notes, _rare(listing, labels, first, len(splits)), grouping(listing, dataset))


def _rare(listing: Listing, labels: Rows, first: Rows, splits: int) -> dict[str, int]:
    different = Counter(labels[np.unique(first)].tolist())
    return {name: different[number] for number, name in enumerate(listing.classes) if 0 < different[number] < splits}


def _require_unsplit(listing: Listing) -> None:
    counts = Counter(split for split in listing.split_names if split)
    if counts:
        told = ", ".join(f"{count:,} {split}" for split, count in sorted(counts.items()))
        remedy = "use it as it is, name one tree or list, or ignore the column with --split-column false"
        raise DatasetError(f"{listing.root}: is split already ({told}); {remedy}")
    if not listing.paths:
        raise DatasetError(f"{listing.root}: no images found; name class folders or a CSV file")


def _require_images(splits: Splits, root: Path) -> None:
    empty = [split for split, rows in splits.items() if not rows.size]
    if empty:
        raise DatasetError(
            f"{root}: the {' and the '.join(empty)} split would be empty; every class needs as many different images "
            "as there are splits for one of them to be drawn"
        )


def write_splits(listing: Listing, drawn: DrawnSplits, folder: Path, *, force: bool) -> Path:
    """Write train.csv, valid.csv and perhaps test.csv into a folder; return the folder that their paths start from.

    That is the folder itself where all images lie below it, so that a search space need only name it;
    otherwise it is the folder of the images. Groups have a column of their own.

    Raises:
        DatasetError: a file is there already and `force` is not set or it is not ours, or another split would be
            left from before.
    """
    splits, groups = drawn.splits, drawn.groups
    targets: dict[Split, Path] = {split: folder / name for split, name in FILES.items() if split in splits}
    written = WrittenFiles(folder)
    _require_replaceable(targets, folder, written, force)
    _require_not_read(targets.values(), listing.files)
    base = folder.resolve() if listing.root.resolve().is_relative_to(folder.resolve()) else listing.root
    start = os.path.relpath(listing.root.resolve(), base.resolve())
    for split, path in targets.items():
        names = [os.path.normpath(os.path.join(start, listing.paths[row])) for row in splits[split]]  # noqa: PTH118
        columns = {"path": names, "label": [listing.class_names[row] for row in splits[split]]}
        if groups is not None:
            columns[group_column(groups)] = [groups.values[groups.numbers[row]] for row in splits[split]]
        written.write(path, table([tuple(columns), *zip(*columns.values(), strict=True)]).encode())
    return base


def group_column(groups: Grouping) -> str:
    """Return the column of the lists that holds the groups: `group` where its name has another meaning there."""
    name = groups.column or GROUP
    return GROUP if plain_name(name) in (*PATH_COLUMNS, *LABEL_COLUMNS, *SPLIT_COLUMNS) else name


def _require_replaceable(targets: dict[Split, Path], folder: Path, written: WrittenFiles, force: bool) -> None:
    there = [str(path) for path in targets.values() if os.path.lexists(path)]
    if there and not force:
        raise DatasetError(f"{', '.join(there)}: already there; add --force to replace, or name another folder: --to")
    parts = [str(part) for path in targets.values() if os.path.lexists(part := part_of(path))]
    foreign = parts + [path for path in there if not written.holds(Path(path))]
    if foreign:
        raise DatasetError(
            f"{', '.join(foreign)}: sweeper data split did not write this, or it was changed since, so it is not "
            "replaced; move it, or name another folder: --to"
        )
    others = [str(path) for name in (*FILES.values(), "val.csv") if (path := folder / name) not in targets.values()]
    left = [path for path in others if Path(path).exists()]
    if left:
        raise DatasetError(f"{', '.join(left)}: would count as a split beside the new ones; move it, or name --to")


def _require_not_read(targets: Iterable[Path], read: Sequence[Path]) -> None:
    own = [str(path) for path in targets if path.exists() and any(path.samefile(other) for other in read)]
    if own:
        raise DatasetError(
            f"{', '.join(own)}: is what is split here, so it is never replaced; name another folder: --to"
        )


def told(drawn: DrawnSplits) -> list[str]:
    """Return what a user should know of how the images were split."""
    lines = [*drawn.notes.facts(), *drawn.notes.warnings()]
    if drawn.rare:
        names = [f"{name}: {count}" for name, count in sorted(drawn.rare.items(), key=lambda pair: pair[::-1])]
        lines.append(
            f"{quantity(len(drawn.rare), 'class has', 'classes have')} fewer different images than there are "
            "splits, so that a split has none of them:\n" + enumerated(names)
        )
    return lines
