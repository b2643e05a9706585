"""The curves of a cross-validated trial: means over its folds."""

from __future__ import annotations

from statistics import fmean

from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, read_history


def mean_history(trial: TrialFolder, folds: int) -> list[EpochMetrics]:
    """Return the means over a trial's first folds at each epoch, of those that have trained so long.

    Later folds of a pruned trial, which another worker may have trained, do not count. Raises DamagedFile.
    """
    counted = [fold for number, fold in trial.folds() if number <= folds]
    epochs = [metrics for fold in counted for metrics in read_history(fold.history)]
    means = []
    for epoch in sorted({metrics.epoch for metrics in epochs}):
        there = [metrics for metrics in epochs if metrics.epoch == epoch]
        values = {name: fmean(metrics.values[name] for metrics in there) for name in there[0].values}
        means.append(EpochMetrics(epoch=epoch, values=values, timestamp_ms=there[-1].timestamp_ms))
    return means
