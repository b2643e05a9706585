"""Which of the leaders answer best together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp

Logits = npt.NDArray[np.float32]


def together(logits: Sequence[Logits]) -> npt.NDArray[np.float64]:
    """Return the logarithm of the mean of the probabilities, [N, C], of networks with logits [N, C]."""
    each = np.stack([log_softmax(member.astype(np.float64), axis=1) for member in logits])
    return np.asarray(logsumexp(each, axis=0) - np.log(len(logits)))


def greedy_ensemble(logits: Sequence[Logits], labels: npt.NDArray[np.int64]) -> list[int]:
    """Return which of the networks, given best first, answer together: the first, then whichever helps most.

    It ends when no further member raises accuracy; of members that raise it equally, the one with the lowest
    loss is taken (after Caruana et al. 2004, "Ensemble selection from libraries of models", without repeats).
    """
    chosen, best = [0], _merit(together([logits[0]]), labels)
    while left := [number for number in range(len(logits)) if number not in chosen]:
        merits = {number: _merit(together([logits[member] for member in [*chosen, number]]), labels) for number in left}
        number = max(left, key=lambda candidate: merits[candidate])
        if merits[number][0] <= best[0]:
            break
        chosen, best = [*chosen, number], merits[number]
    return chosen


def _merit(log_probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Return accuracy, and the negative of the loss."""
    accuracy = float((log_probabilities.argmax(1) == labels).mean())
    return accuracy, float(log_probabilities[np.arange(len(labels)), labels].mean())
