"""How far a sweep has come and how long it still takes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from sweeper.config.pruner import PromoteConfig, epochs_expected
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialOutcome, TrialRow, TrialState


class Forecast:
    """Counts ended trials, remembers the best value and extrapolates the time left."""

    def __init__(self, rows: Sequence[TrialRow], budget: int, sweep: SweepConfig):
        self.budget = budget
        self.ended = 0
        self.best: float | None = None
        self._objective = sweep.objective
        pauses = sweep.pruner if isinstance(sweep.pruner, PromoteConfig) else None
        self._expected = epochs_expected(pauses, sweep.budget.epochs) if pauses else None
        self._running: set[int] = set()
        self._paused: set[int] = set()
        self._before: dict[int, tuple[int, float]] = {}  # epochs and seconds of those that pause, or go on after it
        self._epochs_before, self._seconds_before = 0, 0.0  # of all of them: they may be many
        self._at_once = 1
        self._fuse = sweep.features.fuse
        self._seconds, self._timed, self._epochs = 0.0, 0, 0
        for row in rows:
            if row.state.ended:
                value = row.value if row.outside is None else None  # history has no rank
                self._count(row.state, row.epochs, row.seconds or 0.0, value)
            elif row.state is TrialState.PAUSED:
                self._pause(row.number, row.epochs, row.seconds or 0.0)

    def trial_started(self, number: int) -> None:
        """Note a trial that runs now, beside others perhaps."""
        self._running.add(number)
        self._paused.discard(number)
        self._at_once = max(self._at_once, len(self._running))

    def epochs_planned(self) -> None:
        """Note that the trials that run end now, and are trained again with fewer epochs."""
        self.budget += len(self._running)

    def trial_paused(self, number: int, outcome: TrialOutcome) -> None:
        """Note a trial that runs no longer, and has not ended."""
        self._running.discard(number)
        self._pause(number, outcome.epochs, outcome.seconds)

    def _pause(self, number: int, epochs: int, seconds: float) -> None:
        self._forget_before(number)
        self._paused.add(number)
        self._before[number] = (epochs, seconds)
        self._epochs_before += epochs
        self._seconds_before += seconds

    def _forget_before(self, number: int) -> None:
        epochs, seconds = self._before.pop(number, (0, 0.0))
        self._epochs_before -= epochs
        self._seconds_before -= seconds

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None:
        """Count a trial that has ended."""
        self._paused.discard(number)
        self._forget_before(number)
        self._running.discard(number)
        self._count(outcome.state, outcome.epochs, outcome.seconds, outcome.best_value)

    def _count(self, state: TrialState, epochs: int, seconds: float, value: float | None) -> None:
        self.ended += 1
        self._epochs += epochs
        if seconds:  # nothing is known of one that failed before it trained
            self._seconds += seconds
            self._timed += 1
        if state is TrialState.COMPLETE and value is not None and self._objective.better(value, self.best):
            self.best = value

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the budget is used up, as many trials at once as so far; None before anything is known.

        Where trials pause, few of those go on. Each of the others counts with the epochs that a trial has on average.
        """
        at_once = ceil(self._at_once / self._fuse)  # each trial that is trained together has its share of the seconds
        left = max(0, self.budget - self.ended - len(self._paused))
        if self._expected is None:
            return left * self._seconds / self._timed / at_once if self._timed else None
        epochs, seconds = self._epochs + self._epochs_before, self._seconds + self._seconds_before
        return left * self._expected * seconds / epochs / at_once if epochs and seconds else None
