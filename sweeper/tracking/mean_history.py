"""The curves of a cross-validated trial: means over its folds."""

from __future__ import annotations

from statistics import fmean

from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, read_history


def mean_history(trial: TrialFolder) -> list[EpochMetrics]:
    """Return the means over a trial's folds at each epoch, of those that have trained so long. Raises DamagedFile."""
    epochs = [metrics for _, fold in trial.folds() for metrics in read_history(fold.history)]
    means = []
    for epoch in sorted({metrics.epoch for metrics in epochs}):
        there = [metrics for metrics in epochs if metrics.epoch == epoch]
        values = {name: fmean(metrics.values[name] for metrics in there) for name in there[0].values}
        means.append(EpochMetrics(epoch=epoch, values=values, timestamp_ms=there[-1].timestamp_ms))
    return means
