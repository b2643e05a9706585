"""What a driver reports to whoever is watching."""

from __future__ import annotations

from typing import Protocol

from sweeper.config.sweep import SweepConfig
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec
from sweeper.study.opening import Opening


class Observer(Protocol):
    """Watches a sweep; the command line's live table and plain lines are two."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """This much of a step is done before trials can start, such as `decoding images`."""

    def opening(self, opening: Opening) -> None:
        """The study is about to begin or to go on: what it does, and what it takes for granted."""

    def worker_ready(self, device: str) -> None:
        """A worker can take trials, on this device."""

    def study_opened(self, sweep: SweepConfig, rows: list[TrialRow], budget: int) -> None:
        """The study is open; `rows` are the trials of earlier runs."""

    def retrying(self, numbers: list[int]) -> None:
        """The configurations of these failed trials are queued again."""

    def trial_started(self, spec: TrialSpec) -> None: ...

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None: ...

    def trial_paused(self, number: int, outcome: TrialOutcome) -> None:
        """A trial pauses, to go on later or never."""

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None: ...

    def worker_died(self, number: int | None, reason: str) -> None: ...

    def trial_silent(self, number: int, seconds: float) -> None:
        """No epoch has come from a trial for much longer than usual; reported again when the time has doubled."""

    def slot_retired(self, reason: str, left: int) -> None:
        """No worker can start in a slot, for a reason; this many slots go on."""

    def epochs_planned(self, epochs: int, before: int) -> None:
        """Trials have fewer epochs from now on, so that several fit into the time."""

    def steered(self, what: str, budget: int) -> None:
        """A command has asked the running study for something, and that is done; it has this many trials in all."""

    def stopping(self, reason: str) -> None:
        """No more trials are started, and why."""

    def tracking_trouble(self, message: str | None) -> None:
        """MLflow cannot be reached, or can again."""

    def delivering(self, left: int) -> None:
        """All trials have ended and this many runs are still to arrive in MLflow; reported again and again."""
