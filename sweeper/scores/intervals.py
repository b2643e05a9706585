"""How far scores of a split may lie from those on all images of its kind, by the number of its images alone.

What it takes for granted is that the images are independent of each other, and chose nothing: scores on a validation
split have chosen the epoch and the trial, and copies or images of one patient count for more than they are.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from sweeper.scores.confusion import Confusion
from sweeper.scores.metrics import quotient

Interval = tuple[float, float]

CONFIDENCE = 0.95
DRAWS = 1000
SEED = 0


def accuracy_interval(confusion: Confusion) -> Interval:
    """Return the 95 % interval of an accuracy after Wilson (1927), which holds for few images and near 0 and 1 too."""
    right, images = int(np.diag(confusion).sum()), int(confusion.sum())
    z, share = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), right / images
    centre = share + z**2 / (2 * images)
    half = z * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    shrunk = 1 + z**2 / images
    return max(0.0, (centre - half) / shrunk), min(1.0, (centre + half) / shrunk)


def f1_interval(confusion: Confusion) -> Interval:
    """Return the 95 % interval of the macro F1: percentiles over 1,000 draws of as many images with replacement.

    Images of one cell of the matrix are all the same to the score, so it is the cells that are drawn.
    """
    true, predicted = np.nonzero(confusion)
    counts, images, classes = confusion[true, predicted], int(confusion.sum()), len(confusion)
    dice, drawn = np.random.default_rng(SEED), np.empty(DRAWS)
    for draw in range(DRAWS):
        cells = dice.multinomial(images, counts / images)
        support = np.bincount(true, cells, classes)
        both = support + np.bincount(predicted, cells, classes)
        hits = np.bincount(true, cells * (true == predicted), classes)
        drawn[draw] = quotient(2 * hits, both)[both > 0].mean()
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100 - tail]).tolist()
    return low, high
