"""Folds for cross-validation: parts of the images that are alike, each of which is validated once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeper.data.listing import enumerated
from sweeper.data.splitting import Rows, Splits, Units, split_units, thin_out
from sweeper.errors import DatasetError

Folds = tuple[Rows, ...]
"""The row numbers of each fold, sorted; no row is in two of them. Empty where there is no cross-validation."""


def draw_folds(labels: Rows, rows: Rows, units: Units, number: int, seed: int) -> Folds:
    """Part rows into folds, units whole; `labels` [N] are those of all rows.

    Units are dealt class by class, so that two folds differ by at most one of them, in each class and in all. Groups
    are drawn fold by fold, each as nearly its share of every class as whole groups allow.
    """
    rng = np.random.default_rng(seed)
    return _drawn(labels, rows, units, number, rng) if units.grouped else _dealt(labels, rows, units, number, rng)


def _drawn(labels: Rows, rows: Rows, units: Units, number: int, rng: np.random.Generator) -> Folds:
    left, folds = rows, []
    for parts in range(number, 1, -1):
        left, fold = split_units(labels, left, units, 1 / parts, rng)
        folds.append(fold)
    return (*folds, left)


def _dealt(labels: Rows, rows: Rows, units: Units, number: int, rng: np.random.Generator) -> Folds:
    unit = units.first[rows]
    names, places = np.unique(unit, return_index=True)
    heads = rows[places]
    shuffled = rng.permutation(len(heads))
    by_class = shuffled[np.argsort(labels[heads][shuffled], kind="stable")]
    fold_of = np.empty(len(heads), dtype=np.int64)
    fold_of[by_class] = np.arange(len(heads)) % number
    fold = fold_of[np.searchsorted(names, unit)]
    return tuple(rows[fold == place] for place in range(number))


def kept_of(folds: Folds, rows: Rows, labels: Rows, most: int | None, seed: int) -> Folds:
    """Return what is left of folds when only `rows` are used, and of these at most so many: as many of each fold."""
    kept = tuple(np.intersect1d(fold, rows, assume_unique=True) for fold in folds)
    if most is None or most >= sum(map(len, kept)):
        return kept
    rng = np.random.default_rng(seed)
    whole, rest = divmod(most, len(kept))
    return tuple(thin_out(labels, fold, whole + (place < rest), rng) for place, fold in enumerate(kept))


def first_of(folds: Folds, splits: Splits) -> Splits:
    """Return splits in which the first fold is validated and the others are trained on; without folds the same ones."""
    return validating(folds, 1, splits) if folds else splits


def validating(folds: Folds, number: int, splits: Splits) -> Splits:
    """Return splits in which fold `number`, from 1, is validated and the others are trained on."""
    others = [fold for place, fold in enumerate(folds, 1) if place != number]
    return {**splits, "train": np.sort(np.concatenate(others)), "val": folds[number - 1]}


def without(folds: Folds, rows: Rows) -> Folds:
    """Return folds without some rows."""
    return tuple(np.setdiff1d(fold, rows, assume_unique=True) for fold in folds)


def check_folds(folds: Folds, labels: Rows, classes: Sequence[str], where: str) -> None:
    """Raise `DatasetError` unless every class can be learned whichever fold is left out, and judged by most of them.

    A class needs as many images as there are folds, and more than one fold that has some: groups, and copies of one
    image, are in one fold together.
    """
    counts = np.stack([np.bincount(labels[fold], minlength=len(classes)) for fold in folds])  # [K, C]
    images, holding = counts.sum(axis=0), (counts > 0).sum(axis=0)
    few = np.flatnonzero((images > 0) & (images < len(folds)))
    if few.size:
        named = [f"{classes[number]}: {images[number]:,}" for number in few.tolist()]
        least = int(images[few].min())
        fewer = f"set dataset.folds: {least}, " if least > 1 else ""
        raise DatasetError(
            f"{where}: with dataset.folds: {len(folds)} every class needs at least {len(folds)} images, "
            f"{few.size:,} of {len(classes):,} have fewer:\n{enumerated(named)}\n"
            f"Add images of them, {fewer}or remove the class."
        )
    together = np.flatnonzero(holding == 1)
    if together.size:
        named = [classes[number] for number in together.tolist()]
        raise DatasetError(
            f"{where}: all images of {together.size:,} of {len(classes):,} classes are in one fold, since they are of "
            f"one group or copies of one image, and nothing could learn them when that fold is left out:\n"
            f"{enumerated(named)}\nAdd images of other groups, or remove the class."
        )
    if empty := sum(not len(fold) for fold in folds):
        raise DatasetError(
            f"{where}: {empty:,} of {len(folds)} folds would have no image, since images that belong together are in "
            "one fold; lower dataset.folds, or add images of other groups"
        )
