"""What a program is told while a study runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochFinished:
    """A trial has finished an epoch. `metrics` holds numbers such as `val/accuracy`; epochs count from 1."""

    trial: int
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrialFinished:
    """A trial has ended: complete, pruned or failed. `value` is its best objective; None where it has none."""

    trial: int
    state: str
    value: float | None
    epoch: int | None
    """The best epoch."""
    duration: float
    """Seconds of training."""
    reason: str | None
    """Why it was pruned or failed."""


Callback = Callable[[EpochFinished | TrialFinished], object]
"""A function that is called after each epoch and each trial; what it raises ends the run."""
