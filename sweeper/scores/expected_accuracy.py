"""What the best of many trials can be expected to reach on new images, of which it was not the luckiest.

The best of T trials on N validation images owes a part of its accuracy to having been chosen by these images. How
large that part is, the images themselves tell: they are drawn again, with replacement, a trial is chosen on those that
were drawn, and judged on those that were not (bootstrap bias corrected cross-validation, Tsamardinos, Greasidou and
Borboudakis, Machine Learning 107, 2018, in the form for one split). On average over all draws that is an accuracy on
images that have not chosen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 1000
CONFIDENCE = 0.95
FEWEST = 20
"""Images; fewer say nothing."""

AT_ONCE = 2**24  # numbers of images drawn that are held at the same time

Right = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ExpectedAccuracy:
    """The accuracy of a chosen trial on new images of the same kind, and between which bounds it lies.

    Attributes:
        value: What is expected.
        low, high: The 95 % interval.
        measured: What it had on the images that it was chosen by.
        trials, images: How many there were.
    """

    value: float
    low: float
    high: float
    measured: float
    trials: int
    images: int


def expected_accuracy(right: Right, seed: int = 0) -> ExpectedAccuracy | None:
    """Return what the most accurate of T trials reaches on new images, from which images each has right, [T, N].

    None where there are too few images to say anything.
    """
    trials, images = right.shape
    if images < FEWEST:
        return None
    measured = right.mean(axis=1)
    judged = np.concatenate([_judged(right, counts) for counts in _draws(images, seed)])
    value = float(judged.mean())
    return _interval(value, float(measured.max()), judged, trials, images)


def _draws(images: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield how often each image was drawn, [D, N], of so many draws that they fit in memory."""
    dice = np.random.default_rng(seed)
    at_once = max(1, AT_ONCE // images)
    for start in range(0, DRAWS, at_once):
        number = min(at_once, DRAWS - start)
        yield dice.multinomial(images, np.full(images, 1 / images), size=number).astype(np.float32)


def _judged(right: Right, counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return for each draw the accuracy, on images not drawn, of the trial that is best on those drawn, [D]."""
    hits = right.T.astype(np.float32)
    chosen = (counts @ hits).argmax(axis=1)
    left = (counts == 0).astype(np.float32)
    found: npt.NDArray[np.float64] = ((left @ hits)[np.arange(len(counts)), chosen] / left.sum(axis=1)).astype(float)
    return found


def _interval(
    value: float, measured: float, judged: npt.NDArray[np.float64], trials: int, images: int
) -> ExpectedAccuracy:
    """Add the bounds.

    The images not drawn are a part f of all, without replacement, whose mean varies by (1 - f) / f times the variance of
    the mean of all images.
    """
    part = math.exp(-1)
    deviation = float(judged.std()) / math.sqrt((1 - part) / part)
    z = 1.96
    return ExpectedAccuracy(value, max(0.0, value - z * deviation), min(1.0, value + z * deviation), measured, trials, images)
