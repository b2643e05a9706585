"""How far scores of a split may lie from those on all images of its kind, by the number of its images alone.

What it takes for granted is that the images are independent of each other, and chose nothing: scores on a validation
split have chosen the epoch and the trial, and copies or images of one patient count for more than they are.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from sweeper.scores.confusion import Confusion
from sweeper.scores.metrics import quotient

Interval = tuple[float, float]

CONFIDENCE = 0.95
DRAWS = 1000
SEED = 0


def accuracy_interval(confusion: Confusion) -> Interval:
    """Return the 95 % interval of an accuracy."""
    images = int(confusion.sum())
    return share_interval(int(np.diag(confusion).sum()) / images, images)


def share_interval(share: float, images: int) -> Interval:
    """Return the 95 % interval of a share after Wilson (1927), which holds for few images and near 0 and 1 too."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    centre = share + z**2 / (2 * images)
    half = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    shrunk = 1 + z**2 / images
    return max(0.0, (centre - half) / shrunk), min(1.0, (centre + half) / shrunk)


def f1_interval(confusion: Confusion) -> Interval:
    """Return the 95 % interval of the macro F1: percentiles over 1,000 draws (the Bayesian bootstrap, Rubin 1981).

    Images of one cell of the matrix are all the same to the score, so it is the share of each cell that is drawn. One
    image with a wrong label, any, is added: where none of a few images has one, others may.
    """
    true, predicted = np.nonzero(confusion)
    counts, classes = confusion[true, predicted], len(confusion)
    dice, drawn = np.random.default_rng(SEED), np.empty(DRAWS)
    for draw in range(DRAWS):
        shares = dice.dirichlet([*counts, 1.0])
        at = dice.integers(classes)
        wrongly = (at + dice.integers(1, max(2, classes))) % classes
        drawn[draw] = _macro_f1([*true, at], [*predicted, wrongly], shares, classes)
    tail, found = 50 * (1 - CONFIDENCE), _macro_f1(true, predicted, counts, classes)
    low, high = np.percentile(drawn, [tail, 100 - tail]).tolist()
    return min(low, found), max(high, found)


def _macro_f1(true: npt.ArrayLike, predicted: npt.ArrayLike, shares: npt.NDArray[Any], classes: int) -> float:
    """Return the mean F1 of the classes that occur, by how many images or which share each pair of labels has."""
    true, predicted = np.asarray(true), np.asarray(predicted)
    both = np.bincount(true, shares, classes) + np.bincount(predicted, shares, classes)
    hits = np.bincount(true, shares * (true == predicted), classes)
    return float(quotient(2 * hits, both)[both > 0].mean())
