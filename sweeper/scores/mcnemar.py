"""Two classifiers on the same images: how their accuracies differ, and how much of that is chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

Hits = npt.NDArray[np.bool_]

Z95 = 1.96
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class PairedCounts:
    """The second classifier against the first: images that it alone, and that the first alone, labels rightly."""

    images: int
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """The second accuracy less the first."""
        return (self.gained - self.lost) / self.images

    @property
    def margin(self) -> float:
        """Half the width of the 95 % interval of the difference: only images on which the two differ add to it."""
        differing, net = self.gained + self.lost, self.gained - self.lost
        return float(Z95 * np.sqrt(max(0.0, differing - net**2 / self.images)) / self.images)

    @property
    def p_better(self) -> float:
        """The chance of this many gains or more among the differing images if neither were better."""
        return mcnemar(self.gained, self.lost, "greater")


def mcnemar(gained: int, lost: int, alternative: Literal["two-sided", "greater"] = "two-sided") -> float:
    """Return the p-value of McNemar's exact test (McNemar, 1947); 1 where the two never disagree.

    Were both equally good, each image that just one of them labels rightly would be either's by the toss of a coin.
    """
    differing = gained + lost
    return float(binomtest(gained, differing, 0.5, alternative=alternative).pvalue) if differing else 1.0


def paired(first: Hits, second: Hits) -> PairedCounts:
    """Compare which images [N] two classifiers label rightly."""
    return PairedCounts(len(first), int((second & ~first).sum()), int((first & ~second).sum()))
