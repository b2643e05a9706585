"""For search spaces that run on the stand-in: cuDNN, which it does not replace, and counts, which no kernel makes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

import sweeper.metrics

torch.backends.cudnn.enabled = False
counted = sweeper.metrics.summary


def as_if_counted(loss: float, top: int, confusion: NDArray[np.int64]) -> dict[str, float]:
    """Score the identity where nothing was counted, since nothing is computed."""
    return counted(1.0, top, confusion if confusion.sum() else np.eye(len(confusion), dtype=np.int64))


sweeper.metrics.summary = as_if_counted
