"""Likely wrong labels from probabilities that a model gave to images it was not trained on.

Confident learning (Northcutt, Jiang and Chuang, arXiv 1911.00068): an image is suspect when another class is as
probable for it as that class is, on average, for the images that carry its label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Suspects:
    """Rows of the images whose label is likely wrong, worst first; the likelier label and a score of each, all [S]."""

    rows: Labels
    suggested: Labels
    scores: Probabilities


def suspects(probabilities: Probabilities, labels: Labels, known: npt.NDArray[np.bool_] | None = None) -> Suspects:
    """Find the images with a label that is likely wrong.

    Args:
        probabilities: [N, C], by models that had not seen the image.
        labels: [N], as given.
        known: [N], whether the model of an image has seen others of its label; what it cannot know is not judged.

    Returns:
        With scores of 1 - the probability of the given label.
    """
    everyone, known = np.arange(len(labels)), np.ones(len(labels), bool) if known is None else known
    given = probabilities[everyone, labels]
    carried = np.bincount(labels[known], minlength=probabilities.shape[1])
    usual = np.bincount(labels[known], given[known], minlength=probabilities.shape[1]) / np.maximum(carried, 1)
    convincing = known[:, None] & (probabilities >= np.where(carried, usual, np.inf)) & (probabilities > given[:, None])
    candidates = np.where(convincing, probabilities, -1.0)
    rows = np.flatnonzero(convincing.any(axis=1))
    rows = rows[np.argsort(given[rows], kind="stable")]
    return Suspects(rows, candidates[rows].argmax(axis=1), 1 - given[rows])
