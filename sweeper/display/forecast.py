"""How far a sweep has come and how long it still takes."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.config.sweep import ObjectiveConfig
from sweeper.results import TrialOutcome, TrialRow, TrialState


class Forecast:
    """Counts ended trials, remembers the best value and extrapolates the time left."""

    def __init__(self, rows: Sequence[TrialRow], budget: int, objective: ObjectiveConfig):
        done = [row for row in rows if row.state.ended]
        self.budget = budget
        self.ended = len(done)
        self.best: float | None = None
        self._objective = objective
        self._running: set[int] = set()
        self._paused = {row.number for row in rows if row.state is TrialState.PAUSED}
        self._at_once = 1
        timed = [row.seconds for row in done if row.seconds]
        self._seconds, self._timed = sum(timed), len(timed)
        for row in done:
            self._keep_best(row.state, row.value)

    def trial_started(self, number: int) -> None:
        """Note a trial that runs now, beside others perhaps."""
        self._running.add(number)
        self._paused.discard(number)
        self._at_once = max(self._at_once, len(self._running))

    def epochs_planned(self) -> None:
        """Note that the trials that run end now, and are trained again with fewer epochs."""
        self.budget += len(self._running)

    def trial_paused(self, number: int) -> None:
        """Note a trial that runs no longer, and has not ended."""
        self._running.discard(number)
        self._paused.add(number)

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None:
        """Count a trial that has ended."""
        self._paused.discard(number)
        self._running.discard(number)
        self.ended += 1
        if outcome.seconds:  # nothing is known of one that failed before it trained
            self._seconds += outcome.seconds
            self._timed += 1
        self._keep_best(outcome.state, outcome.best_value)

    def _keep_best(self, state: TrialState, value: float | None) -> None:
        if state is TrialState.COMPLETE and value is not None and self._objective.better(value, self.best):
            self.best = value

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the budget is used up, as many trials at once as so far; None before the first has ended.

        Few paused trials go on, so that they count as ended.
        """
        if not self._timed:
            return None
        left = max(0, self.budget - self.ended - len(self._paused))
        return left * self._seconds / self._timed / self._at_once
