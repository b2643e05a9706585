"""Two classifiers on the same images: how their accuracies differ, and how much of that is chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

Hits = npt.NDArray[np.bool_]

Z95 = 1.96
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Paired:
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
        """The chance of so many gains among the differing images if neither were better: McNemar's exact test."""
        differing = self.gained + self.lost
        return float(binomtest(self.gained, differing, 0.5, alternative="greater").pvalue) if differing else 1.0


def paired(first: Hits, second: Hits) -> Paired:
    """Compare which images [N] two classifiers label rightly."""
    return Paired(len(first), int((second & ~first).sum()), int((first & ~second).sum()))
