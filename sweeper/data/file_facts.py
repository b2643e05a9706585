"""What the image files of a data set are like: their sizes, and how many bits their values use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class FileFacts:
    """Sides in pixels are the shorter ones of each file; all are 0 without a readable image.

    `deep` images have more than 8 bits and do not say how many they use; `largest` is the largest value of any, and
    `bits` is how many were taken for used.
    """

    smallest_side: int = 0
    median_side: int = 0
    largest_side: int = 0
    deep: int = 0
    largest: int = 0
    bits: int = 16

    @classmethod
    def of(cls, facts: npt.NDArray[np.int64], bits: int) -> Self:
        """Summarise width, height and largest value, int64 [N, 3], of N files."""
        sides = facts[:, :2].min(axis=1)
        sides = sides[sides > 0]
        deep = facts[facts[:, 2] > 0, 2]
        return cls(
            smallest_side=int(sides.min()) if sides.size else 0,
            median_side=int(np.median(sides)) if sides.size else 0,
            largest_side=int(sides.max(initial=0)),
            deep=len(deep),
            largest=int(deep.max(initial=0)),
            bits=bits,
        )
