"""Which accuracy to expect of the best of many trials on new images, where its luck is gone.

The best epoch of the best trial owes a part of its accuracy to having been chosen by the very images that it is
measured on. How large that part is, the images themselves tell: they are drawn again with replacement, and the choice
is made anew each time. This gives two estimates. One tends to be too high and the other too low, so their mean is taken
(docs/results.md has the figures):

- what was chosen loses this much from the images drawn to all images (Efron, Journal of the American Statistical
  Association 78, 1983: the optimism);
- what was chosen reaches this much on the images not drawn (Tsamardinos, Greasidou and Borboudakis, Machine Learning
  107, 2018: bootstrap bias corrected cross-validation, here with one split).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt

from sweeper.config.bounds import Probability
from sweeper.config.frozen import Frozen
from sweeper.safeguards.quantity import quantity
from sweeper.scores.intervals import share_interval

ACCURACY = "val/accuracy"
DRAWS = 1000
CONFIDENCE = 0.95
FEWEST = 20
"""Images; fewer say nothing."""
FEW_ERRORS = 5
"""Images with a wrong label, or with the right one, below which the interval is at least that of a share (Wilson)."""
AT_ONCE = 2**24
"""Numbers of drawn images that are held at the same time."""
OUT_OF_REACH = 6.0
"""Standard deviations of the difference of two accuracies, by which one that is lower is never chosen in any draw."""
MOST_ROWS = 2000
NOT_DRAWN = math.exp(-1)
"""The share of the images that a draw leaves out."""

Right = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.float32]
Shares = npt.NDArray[np.float64]


class ExpectedAccuracy(Frozen):
    """The accuracy of the best of some trials on new images of the same kind."""

    accuracy: Probability
    low: Probability = Field(description="Lower end of the 95 % interval.")
    high: Probability = Field(description="Upper end.")
    measured: Probability = Field(description="The best of any epoch of any trial, on the images that chose it.")
    trials: PositiveInt
    images: PositiveInt = Field(description="How many images chose it.")
    chosen_by: str = Field(
        ACCURACY, description="The objective: by another than the accuracy the winner may be less accurate."
    )

    @property
    def by_accuracy(self) -> bool:
        """Whether the winner is the one that the estimate is of."""
        return self.chosen_by == ACCURACY

    def __str__(self) -> str:
        told = f"expected accuracy on new images: {self.accuracy:.4f} (95% interval {self.low:.4f} to {self.high:.4f})"
        on = f"{self.measured:.4f} on the {self.images:,} images"
        if self.by_accuracy:
            return f"{told}; the best of {quantity(self.trials, 'trial')} had {on} that chose it"
        return (
            f"{told}, if the most accurate epoch of {quantity(self.trials, 'trial')} is chosen, which had {on}; this "
            f"study chooses by {self.chosen_by}, and its winner may be less accurate"
        )


def expected_accuracy(trials: Sequence[Right], seed: int = 0) -> ExpectedAccuracy | None:
    """Return what the most accurate epoch of all trials reaches on new images.

    Each of `trials` says which of N images each of its E epochs has right, [E, N]. None for fewer than FEWEST images.
    """
    images = trials[0].shape[1] if trials else 0
    if images < FEWEST:
        return None
    from scipy.stats import norm  # takes as long as a short command

    measured, lost, left = redrawn(trials, seed)
    # Of a few images right by luck alone, more may be lost than there are.
    value = min(1.0, max(0.0, (measured - float(lost.mean()) + float(left.mean())) / 2))
    # Images not drawn are a part of all, whose mean varies less than that of as many new ones.
    deviation = float(left.std()) / math.sqrt((1 - NOT_DRAWN) / NOT_DRAWN)
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * deviation
    low, high = max(0.0, value - half), min(1.0, value + half)
    if images * min(value, 1 - value) < FEW_ERRORS:  # draws alone would give too narrow an interval
        widest = share_interval(value, images)
        low, high = min(low, widest[0]), max(high, widest[1])
    return ExpectedAccuracy(
        accuracy=value,
        low=low,
        high=high,
        measured=measured,
        trials=len(trials),
        images=images,
    )


def redrawn(trials: Sequence[Right], seed: int) -> tuple[float, Shares, Shares]:
    """Choose anew on images drawn again, D times.

    Returns the accuracy of the first choice, and for each draw what its choice loses from the images drawn to all
    images, and its accuracy on the images not drawn, [D] each.
    """
    rows = _within_reach(np.concatenate(trials))
    accuracy = rows.mean(axis=1)
    hits = np.ascontiguousarray(rows.T, dtype=np.float32)
    judged = [_judged(hits, accuracy, counts) for counts in _draws(rows.shape[1], seed)]
    lost, left = (np.concatenate(parts) for parts in zip(*judged, strict=True))
    return float(accuracy.max()), lost, left


def _within_reach(rows: Right) -> Right:
    """Keep the rows [R, N] that may be the best of a draw, no more than memory has room for."""
    accuracy = rows.mean(axis=1)
    best = accuracy.max()
    deviation = math.sqrt(2 * best * (1 - best) / rows.shape[1])
    order = np.argsort(-accuracy, kind="stable")[:MOST_ROWS]
    kept: Right = rows[order[accuracy[order] >= best - OUT_OF_REACH * deviation]]
    return kept


def _draws(images: int, seed: int) -> Iterator[Counts]:
    """Yield how often each image was drawn, [D, N], of as many draws at once as fit in memory."""
    dice = np.random.default_rng(seed)
    at_once = max(1, AT_ONCE // images)
    for start in range(0, DRAWS, at_once):
        number = min(at_once, DRAWS - start)
        yield dice.multinomial(images, np.full(images, 1 / images), size=number).astype(np.float32)


def _judged(hits: Counts, accuracy: Shares, counts: Counts) -> tuple[Shares, Shares]:
    """Return for each draw what its best loses from the images drawn to all, and its accuracy on the others, [D]."""
    drawn = counts @ hits / len(hits)
    chosen = drawn.argmax(axis=1)
    each = np.arange(len(counts))
    missing = (counts == 0).astype(np.float32)
    left = (missing @ hits)[each, chosen] / missing.sum(axis=1)
    return (drawn[each, chosen] - accuracy[chosen]).astype(np.float64), left.astype(np.float64)
