"""Drawing splits and limits: stratified, seeded, what belongs together on one side, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeper.config.dataset import LimitConfig
from sweeper.data.listing import Split

Rows = npt.NDArray[np.int64]
Splits = dict[Split, Rows]


@dataclass(frozen=True)
class Drawing:
    """How splits are drawn: shares of all images, and the seed. `val_fraction` 0: no validation split is left."""

    val_fraction: float
    test_fraction: float
    seed: int


@dataclass(frozen=True)
class Units:
    """What stays in one split: `first` [N] names for every row the first row of its unit.

    `grouped` when units were asked for and hold different images; else they are copies of one.
    """

    first: Rows
    grouped: bool = False


def joined(first: Rows, groups: Rows | None) -> Units:
    """Return units that hold together both copies, by their first row, and groups, by any number; both [N]."""
    if groups is None:
        return Units(first)
    unit = np.arange(len(first))
    while True:
        before = unit
        for parts in (first, groups):
            _, part = np.unique(parts, return_inverse=True)
            least = np.full(part.max(initial=-1) + 1, len(unit), dtype=np.int64)
            np.minimum.at(least, part, unit)
            unit = least[part]
        if np.array_equal(before, unit):
            return Units(unit, grouped=True)


def draw_splits(given: Sequence[Split | None], labels: Rows, units: Units, drawing: Drawing) -> Splits:
    """Return the row numbers of every split, each sorted; the test split only where there is one.

    Images that come as one are split into train, val and test by their shares of all of them, test first; a missing
    val is taken from the training images by its share of those; without a share, a given val joins the training
    images. A class with fewer units than there are splits is trained on first, and then in the test split. `given` and
    `labels` are [N].
    """
    named = np.array([split or "" for split in given], dtype="<U5")
    rows = {split: np.flatnonzero(named == split) for split in ("train", "val", "test", "")}
    rng = np.random.default_rng(drawing.seed)
    train, val, test = np.sort(np.concatenate([rows["train"], rows[""]])), rows["val"], rows["test"]
    val_share = drawing.val_fraction
    if not test.size and drawing.test_fraction and rows[""].size:
        train, test = split_units(labels, train, units, drawing.test_fraction, rng)
        val_share /= 1 - drawing.test_fraction
    tested: Splits = {"test": test} if test.size else {}
    if not val_share:
        return {"train": np.sort(np.concatenate([train, val])), **tested}
    if not val.size:
        train, val = split_units(labels, train, units, val_share, rng)
    return {"train": train, "val": val, **tested}


def split_units(labels: Rows, rows: Rows, units: Units, fraction: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Split rows in two, units whole, the same share of each class; returns what is kept and what is drawn, sorted."""
    unit = units.first[rows]
    if units.grouped:
        drawn = draw_groups(labels[rows], unit, fraction, rng)
    else:
        _, places = np.unique(unit, return_index=True)
        _, drawn = split_by_fraction(labels, np.sort(rows[places]), fraction, rng)
    taken = np.isin(unit, units.first[drawn] if not units.grouped else drawn)
    return rows[~taken], rows[taken]


def split_by_fraction(labels: Rows, rows: Rows, fraction: float, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Split rows in two, the same share of each class; returns what is kept and what is drawn, sorted.

    A class of one image is kept whole; of two or more at least one image is on either side.
    """
    drawn: list[Rows] = [np.empty(0, np.int64)]
    for label in np.unique(labels[rows]):
        members = rng.permutation(rows[labels[rows] == label])
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        drawn.append(members[:count])
    taken = np.sort(np.concatenate(drawn))
    return np.setdiff1d(rows, taken, assume_unique=True), taken


def draw_groups(labels: Rows, groups: Rows, fraction: float, rng: np.random.Generator) -> Rows:
    """Draw groups, by their numbers, so that each class has as nearly its share among them as whole groups allow.

    `labels` and `groups` are [N]. Groups are offered by size, of equal ones in a random order, and taken where that
    brings the counts of classes nearer to their shares; one that holds all that is left of a class is never taken.
    Written here since scikit-learn's StratifiedGroupKFold makes equal folds and no shares, and takes a second to import
    in every worker.
    """
    names, number = np.unique(groups, return_inverse=True)
    total = np.bincount(labels)
    pairs, counts = np.unique(number * len(total) + labels, return_counts=True)
    owner, label = np.divmod(pairs, len(total))
    bounds = np.searchsorted(owner, np.arange(len(names) + 1))
    sizes = np.bincount(number)
    shuffled = rng.permutation(len(names))
    by_size = shuffled[np.argsort(-sizes[shuffled], kind="stable")].tolist()
    wanted, held, weight = fraction * total, np.zeros(len(total)), 1 / np.maximum(total, 1)

    def leaves_some(part: slice) -> bool:
        return bool((held[label[part]] + counts[part] < total[label[part]]).all())

    drawn = []
    parts = [slice(bounds[group], bounds[group + 1]) for group in range(len(names))]
    for group in by_size:
        part = parts[group]
        classes, more = label[part], counts[part]
        nearer = (weight[classes] * more * (more - 2 * (wanted - held)[classes])).sum() < 0
        if nearer and leaves_some(part):
            held[classes] += more
            drawn.append(group)
    if not drawn:  # the share is less than half of any group: one is better than none
        drawn = [group for group in reversed(by_size) if leaves_some(parts[group])][:1]
    return np.sort(names[np.array(drawn, dtype=np.int64)])


def limit_splits(splits: Splits, labels: Rows, limit: LimitConfig, seed: int) -> Splits:
    """Thin out every split to the number of images that the limit names for it."""
    most: dict[Split, int | None] = {"train": limit.train_images, "val": limit.val_images, "test": limit.test_images}
    rng = np.random.default_rng(seed)
    return {split: thin_out(labels, rows, most[split], rng) for split, rows in splits.items()}


def thin_out(labels: Rows, rows: Rows, most: int | None, rng: np.random.Generator) -> Rows:
    """Draw at most this many rows, the same share of each class to within one image; sorted."""
    if most is None or most >= len(rows):
        return rows
    classes, counts = np.unique(labels[rows], return_counts=True)
    exact = counts * most / len(rows)
    shares = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(shares - exact, kind="stable")  # the largest remainder first
    shares[by_remainder[: most - shares.sum()]] += 1
    drawn = [rng.permutation(rows[labels[rows] == label])[:share] for label, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(drawn))
