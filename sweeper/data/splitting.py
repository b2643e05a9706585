"""Drawing splits and limits: stratified, seeded, the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sweeper.config.dataset import DatasetConfig, LimitConfig
from sweeper.data.listing import Listing, Split

Rows = npt.NDArray[np.int64]
Splits = dict[Split, Rows]


def draw_splits(listing: Listing, labels: Rows, dataset: DatasetConfig) -> Splits:
    """Return the row numbers of every split, each sorted; the test split only where there is one.

    Images that come as one are split into train, val and test by `test_fraction` and `val_fraction`;
    a missing val is taken from train. `labels` is [N], aligned with the listing.
    """
    named = np.array([split or "" for split in listing.split_names], dtype="<U5")
    rows = {split: np.flatnonzero(named == split) for split in ("train", "val", "test", "")}
    rng = np.random.default_rng(dataset.split_seed)
    train, val, test = np.sort(np.concatenate([rows["train"], rows[""]])), rows["val"], rows["test"]
    if not test.size and dataset.test_fraction and rows[""].size:
        train, test = split_by_fraction(labels, train, dataset.test_fraction, rng)
    if not val.size:
        train, val = split_by_fraction(labels, train, dataset.val_fraction, rng)
    return {"train": train, "val": val, **({"test": test} if test.size else {})}


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


def limit_splits(splits: Splits, labels: Rows, limit: LimitConfig, seed: int) -> Splits:
    """Thin out every split to the number of images that the limit names for it."""
    most: dict[Split, int | None] = {"train": limit.train_images, "val": limit.val_images, "test": limit.test_images}
    rng = np.random.default_rng(seed)
    return {split: thin_out(labels, rows, most[split], rng) for split, rows in splits.items()}


def thin_out(labels: Rows, rows: Rows, most: int | None, rng: np.random.Generator) -> Rows:
    """Draw at most so many rows, the same share of each class to within one image; sorted."""
    if most is None or most >= len(rows):
        return rows
    classes, counts = np.unique(labels[rows], return_counts=True)
    exact = counts * most / len(rows)
    shares = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(shares - exact, kind="stable")  # the largest remainder first
    shares[by_remainder[: most - shares.sum()]] += 1
    drawn = [rng.permutation(rows[labels[rows] == label])[:share] for label, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate(drawn))
