"""The splits of a data set: as they are given, or drawn so that what belongs together stays together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sweeper.config.dataset import DatasetConfig
from sweeper.data.folds import Folds, draw_folds
from sweeper.data.groups import Grouping, grouping, suspicions
from sweeper.data.labels import look_alikes
from sweeper.data.leaks import Leak, leaks, without_leaks
from sweeper.data.listing import Listing, Split, enumerated
from sweeper.data.notes import GIVEN, Notes
from sweeper.data.odd_labels import odd_labels
from sweeper.data.splitting import Drawing, Rows, Splits, draw_splits, joined
from sweeper.errors import DatasetError


class Drawn(NamedTuple):
    """The rows of every split, what was noticed, and with cross-validation the folds that the training split has."""

    splits: Splits
    notes: Notes
    folds: Folds = ()


def drawn_splits(
    listing: Listing,
    labels: Rows,
    same: Rows,
    dataset: DatasetConfig,
    exclude: Callable[[Splits], Splits] = lambda splits: splits,
) -> Drawn:
    """Draw splits or folds; `same` [N] has the first row of equal bytes of each file. With folds there is no val.

    `exclude` leaves images out of splits that are drawn, which are then the same with and without it.
    Raises `DatasetError` for images in several of the given splits where `on_leak` says so.
    """
    groups, folds = grouping(listing, dataset), dataset.folds
    drawing = Drawing(0.0 if folds else dataset.val_fraction, dataset.test_fraction, dataset.split_seed)
    units = joined(same, groups.numbers if groups else None)
    splits = draw_splits(listing.split_names, labels, units, drawing)
    found = _leaks(listing, exclude(splits), same, groups)
    if found and dataset.on_leak == "error":
        raise DatasetError(_leaked(listing, found))
    kept = without_leaks(splits, units.first) if found and dataset.on_leak == "drop" else splits
    parts = draw_folds(labels, kept["train"], units, folds, dataset.split_seed) if folds else ()
    whole, used = exclude(splits), exclude(kept)
    judged = (*parts, *(rows for split, rows in used.items() if not folds or split == "test"))
    notes = Notes(
        origin=_origin(listing.split_names, splits, drawing),
        columns=listing.columns,
        others=listing.others,
        skipped=listing.skipped,
        look_alikes=look_alikes(listing.classes),
        merged=listing.merged,
        copies=int((same != np.arange(len(same))).sum()),
        two_labels=pictures_in_two_classes(listing, labels, same),
        groups=str(groups) if groups else "",
        leaks=found,
        dropped={split: lost for split in splits if (lost := len(whole[split]) - len(used[split]))},
        sizes={split: len(rows) for split, rows in whole.items()},
        excluded=sum(len(splits[split]) - len(whole[split]) for split in splits),
        absent=listing.absent,
        odd_labels=odd_labels(listing.classes),
        suspicions=suspicions(listing, labels, judged, groups),
        folds=len(parts),
        pooled=listing.split_names.count("val") if folds else 0,
    )
    return Drawn(used, notes, parts)


def _leaks(listing: Listing, splits: Splits, same: Rows, groups: Grouping | None) -> tuple[Leak, ...]:
    of_groups = leaks(splits, groups.numbers, "groups", listing.paths) if groups else ()
    return (*leaks(splits, same, "copies", listing.paths), *of_groups)


def _leaked(listing: Listing, found: Sequence[Leak]) -> str:
    return (
        f"{listing.root}: images are in several splits (dataset.on_leak: error):\n"
        f"{enumerated([str(leak) for leak in found])}\n"
        "Correct the splits, or leave such images out with dataset.on_leak: drop."
    )


def _origin(given: Sequence[Split | None], splits: Splits, drawing: Drawing) -> dict[Split, str]:
    """Say where each split comes from."""
    named, shares = set(given), {"val": drawing.val_fraction, "test": drawing.test_fraction}
    whole = None in named and "test" not in named
    drawn = {split for split in splits if split not in named and split != "train"}
    origin: dict[Split, str] = {}
    for split in splits:
        if split in drawn:
            source = "all images" if whole else "train"
            origin[split] = f"{shares[split]:.3g} of {source}, drawn by split_seed {drawing.seed}"
        else:
            origin[split] = "the rest" if split == "train" and drawn else GIVEN
    return origin


def pictures_in_two_classes(listing: Listing, labels: Rows, same: Rows) -> tuple[tuple[str, ...], ...]:
    """Return the groups of files of equal bytes that are in more than one class."""
    odd = np.unique(same[labels != labels[same]])
    groups: dict[int, list[str]] = {head: [] for head in odd.tolist()}
    for row in np.flatnonzero(np.isin(same, odd)).tolist():
        groups[int(same[row])].append(listing.paths[row])
    return tuple(map(tuple, groups.values()))
