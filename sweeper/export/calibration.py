"""Temperature scaling: one number that turns the logits of a classifier into probabilities to rely on.

Logits are divided by a temperature before the softmax (Guo et al. 2017, arXiv 1706.04599). No image gets
another class by it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from sweeper.config.frozen import Frozen
from sweeper.export.export_bounds import Temperature
from sweeper.safeguards.quantity import quantity
from sweeper.scores.calibration_error import reliability
from sweeper.scores.predictions import Predictions

Logits = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.int64]

FEWEST_MISTAKES = 5
"""With fewer, how sure a classifier may be is not to be seen: the fit would run to a bound."""

LOWEST, HIGHEST = 0.05, 20.0
"""Bounds of a temperature."""


LEAST_SHARE = 1e-7
"""What half precision has kept as 0 may have been as much."""


class Calibration(Frozen):
    """The temperature of an export, and what it changes on its validation split.

    `ece` is the expected calibration error, `loss` the cross entropy, both at temperature 1 and, as
    `calibrated_…`, on each half of the images with the temperature fitted on the other half: a figure for
    images that the temperature has not seen. `reason` says why the temperature was left at 1.
    """

    temperature: Temperature = 1.0
    images: int
    ece: float
    calibrated_ece: float
    loss: float
    calibrated_loss: float
    reason: str | None = None


def calibrate(logits: Logits, labels: Labels) -> Calibration:
    """Fit a temperature to a split, unless that makes nothing better on images it was not fitted to.

    Args:
        logits: [N, C].
        labels: [N], the true classes.
    """
    halves = crossed(logits, labels)
    before, after = np.ones(len(labels)), halves
    reason = _no_use(logits, labels, halves)
    if reason:
        after = before
    return Calibration(
        temperature=1.0 if reason else fit_temperature(logits, labels),
        images=len(labels),
        ece=calibration_error(logits, labels, before),
        calibrated_ece=calibration_error(logits, labels, after),
        loss=cross_entropy(logits, labels, before),
        calibrated_loss=cross_entropy(logits, labels, after),
        reason=reason,
    )


def logits_of(predictions: Predictions, classes: int) -> Logits:
    """Return logits [N, C] that give the probabilities which were kept."""
    logits: Logits = np.log(np.maximum(predictions.shares(classes), LEAST_SHARE))
    return logits


def _no_use(logits: Logits, labels: Labels, halves: Logits) -> str | None:
    mistakes = int((logits.argmax(1) != labels).sum())
    if min(mistakes, len(labels) - mistakes) < FEWEST_MISTAKES:
        return f"{quantity(mistakes, 'mistake')} in {quantity(len(labels), 'image')}: too few or too many to fit it to"
    if cross_entropy(logits, labels, halves) >= cross_entropy(logits, labels, np.ones(len(labels))):
        return "fitted on one half of the images it does not lower the loss on the other"
    return None


def crossed(logits: Logits, labels: Labels) -> Logits:
    """Return for every image, [N], the temperature fitted on the half of the images that it is not in.

    Images stand in the order of their paths: in class folders every second one is a half of each class. Images that
    belong together, such as those of one patient, may be in both halves.
    """
    temperatures = np.ones(len(labels))
    for half in (slice(0, None, 2), slice(1, None, 2)):
        other = slice(1, None, 2) if half.start == 0 else slice(0, None, 2)
        if len(labels[other]):
            temperatures[half] = fit_temperature(logits[other], labels[other])
    return temperatures


def fit_temperature(logits: Logits, labels: Labels) -> float:
    """Return the temperature with the lowest cross entropy, between LOWEST and HIGHEST.

    The loss is convex in the reciprocal, so that it has one minimum over the logarithm, too.
    """

    def loss(log_temperature: float) -> float:
        return cross_entropy(logits, labels, np.full(len(labels), np.exp(log_temperature)))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def cross_entropy(logits: Logits, labels: Labels, temperatures: Logits) -> float:
    """Return the mean cross entropy of logits [N, C], each row at its own temperature [N]."""
    log_probabilities = log_softmax(logits.astype(np.float64) / temperatures[:, None], axis=1)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def calibration_error(logits: Logits, labels: Labels, temperatures: Logits) -> float:
    """Return the expected calibration error of logits [N, C], each row at its own temperature [N]."""
    log_probabilities = log_softmax(logits.astype(np.float64) / temperatures[:, None], axis=1)
    return reliability(np.exp(log_probabilities.max(1)), log_probabilities.argmax(1) == labels).error
