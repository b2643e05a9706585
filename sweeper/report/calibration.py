"""Whether a model's confidence can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeper.scores.predictions import Predictions

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Images by confidence in 15 equal steps from 0 to 1: how many, their mean confidence, the share that is right.

    `error` is the expected calibration error (Guo et al., 2017, arXiv 1706.04599): the mean distance
    between confidence and share, weighted by the number of images.
    """

    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float


def calibration(predictions: Predictions) -> Calibration:
    """Compare the probability of each prediction with how often such predictions are right."""
    confidence = predictions.probabilities[:, 0].astype(np.float64)
    step = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(step, minlength=BINS)
    below = np.maximum(counts, 1)
    mean = np.bincount(step, confidence, BINS) / below
    right = np.bincount(step, predictions.right, BINS) / below
    error = float((counts * np.abs(mean - right)).sum() / max(counts.sum(), 1))
    return Calibration(counts, mean, right, error)
