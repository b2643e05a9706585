"""How fast the trials of a study train, measured while they do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from sweeper.results import EpochMetrics, TrialRow, TrialSpec, TrialState

RECENT = 8
"""Trials that count: a machine becomes slower or faster while a study runs."""


@dataclass
class Running:
    """A trial that runs: since when, when its last epoch came, and each epoch.

    `features_s` are the seconds in which it waited for features.
    """

    started: float
    heard: float | None = None
    epochs_s: list[float] = field(default_factory=list)
    features_s: float = 0.0


class Pace:
    """Keeps how long epochs and trials take, in seconds of `clock`."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._running: dict[int, Running] = {}
        self._epochs_s: deque[float] = deque(maxlen=RECENT)
        self._overheads_s: deque[float] = deque(maxlen=RECENT)
        self._earlier_s: deque[float] = deque(maxlen=RECENT)
        self.at_once = 1
        """Most trials that have run at the same time."""
        self.epochs_before = 0
        """How many of a trial's epochs its source has had, which take no time."""

    def count_earlier(self, rows: Iterable[TrialRow], at_once: int = 1) -> None:
        """Take in how fast trials of an earlier run were, and how many ran at once.

        That is of use while none of this run has ended.
        """
        if self.epoch_s is None:
            self.at_once = max(self.at_once, at_once)
        for row in rows:
            if row.state is TrialState.COMPLETE and row.seconds and row.epochs > self.epochs_before:
                self._earlier_s.append(row.seconds / (row.epochs - self.epochs_before))

    def group_started(self, group: Sequence[TrialSpec]) -> None:
        now = self._clock()
        self._running |= {spec.number: Running(now) for spec in group}
        self.at_once = max(self.at_once, len(self._running))

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None:
        """Take in an epoch: what it took by its worker, and later ones also by when they came.

        A group of trials is trained as one stack or several, one after the other; times are shared by those of a stack.
        The features of a frozen backbone are computed once, and no later epoch takes their time.
        """
        trial, now = self._running[number], self._clock()
        seconds = metrics.values.get("time/epoch_s", 0.0) * metrics.at_once
        features_s = metrics.values.get("time/features_s", 0.0) * metrics.at_once
        trial.epochs_s.append(seconds if trial.heard is None else max(seconds, now - trial.heard - features_s))
        trial.features_s += features_s
        trial.heard = now

    def waited(self, trials: Collection[int]) -> None:
        """Take no account of the time that these trials have waited since their last epoch."""
        now = self._clock()
        for trial in (self._running[number] for number in trials if number in self._running):
            if trial.heard is not None:
                trial.started += now - trial.heard
                trial.heard = now

    def trial_ended(self, number: int) -> None:
        """Take in that a trial is no longer on its worker."""
        trial = self._running.pop(number, None)
        if trial is not None and trial.epochs_s:
            self._epochs_s.append(fmean(trial.epochs_s))
            whole_s = self._clock() - trial.started - trial.features_s
            self._overheads_s.append(max(0.0, whole_s - sum(trial.epochs_s)))

    def last_epoch_s(self, number: int) -> float:
        """Return how long the last epoch of a running trial took."""
        return self._running[number].epochs_s[-1]

    @property
    def epoch_s(self) -> float | None:
        """Seconds of an epoch, the median over trials; None before the first one."""
        known = list(self._epochs_s) or [fmean(trial.epochs_s) for trial in self._running.values() if trial.epochs_s]
        return median(known) if known else None

    def earlier_trial_s(self, epochs: int) -> float | None:
        """Seconds of a whole trial as they were in earlier runs; None where there were none."""
        return (epochs - self.epochs_before) * median(self._earlier_s) if self._earlier_s else None

    def trial_s(self, epochs: int) -> float | None:
        """Seconds of a whole trial of this number of epochs, from its start on a worker to the next one's."""
        overhead = median(self._overheads_s) if self._overheads_s else 0.0
        return None if self.epoch_s is None else overhead + (epochs - self.epochs_before) * self.epoch_s
