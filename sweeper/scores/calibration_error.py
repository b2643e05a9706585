"""How far a classifier's confidence and its accuracy are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15
"""Of confidence, as in Guo et al. 2017, arXiv 1706.04599."""


@dataclass(frozen=True)
class Reliability:
    """Images by confidence in 15 equal bins from 0 to 1, each [15]: how many, mean confidence, share that is right.

    `error` is the expected calibration error (Guo et al., 2017): the mean distance between confidence and share,
    weighted by the number of images.
    """

    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float


def reliability(confidence: npt.NDArray[np.floating[Any]], right: npt.NDArray[np.bool_]) -> Reliability:
    """Compare the probability of each prediction, [N], with how often such predictions are right, [N]."""
    probability = confidence.astype(np.float64)
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    below = np.maximum(counts, 1)
    mean = np.bincount(bins, probability, BINS) / below
    share = np.bincount(bins, right, BINS) / below
    error = float((counts * np.abs(mean - share)).sum() / max(counts.sum(), 1))
    return Reliability(counts, mean, share, error)
