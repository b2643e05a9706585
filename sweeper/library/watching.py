"""The observer of a program: quiet, but for the callbacks and, in a notebook, a view that follows the study."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sweeper.config.sweep import SweepConfig
from sweeper.library.events import Callback, EpochFinished, TrialFinished
from sweeper.library.notebook import NotebookView
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec
from sweeper.study.opening import Opening

logger = logging.getLogger("sweeper")


class Watching:
    """Passes on what the driver reports; everything that is not an epoch or a trial goes to the log."""

    def __init__(self, callbacks: Sequence[Callback], view: NotebookView | None):
        self._callbacks = callbacks
        self._view = view
        self._told: dict[int, EpochMetrics] = {}
        self._trouble: str | None = None

    def preparing(self, what: str, done: int, total: int) -> None:
        if self._view:
            self._view.preparing(what, done, total)

    def opening(self, opening: Opening) -> None:
        for subject, fact in opening.facts:
            logger.info("%s: %s", subject, fact)
        for warning in opening.warnings:
            logger.warning("%s", warning)

    def worker_ready(self, device: str) -> None:
        logger.info("a worker is ready on %s", device)

    def study_opened(self, sweep: SweepConfig, rows: list[TrialRow], budget: int) -> None:
        if self._view:
            self._view.opened(sweep, rows, budget)

    def retrying(self, numbers: list[int]) -> None:
        logger.info("trials %s are trained once more", numbers)

    def trial_started(self, spec: TrialSpec) -> None:
        if self._view:
            self._view.started(spec.number, spec.epochs)

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None:
        if self._view:
            self._view.epoch(number, metrics)
        told = self._told.get(number)
        if told and metrics.epoch <= told.epoch and metrics.timestamp_ms <= told.timestamp_ms:
            return  # a worker that goes on with a trial reports its epochs again
        self._told[number] = metrics
        self._tell(EpochFinished(number, metrics.epoch, dict(metrics.values)))

    def trial_paused(self, number: int, outcome: TrialOutcome) -> None:
        if self._view:
            self._view.ended(number, outcome)

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None:
        self._told.pop(number, None)
        if self._view:
            self._view.ended(number, outcome)
        value, epoch = outcome.best_value, outcome.best_epoch
        self._tell(TrialFinished(number, outcome.state.value, value, epoch, outcome.seconds, outcome.reason))

    def _tell(self, event: EpochFinished | TrialFinished) -> None:
        for callback in self._callbacks:
            callback(event)

    def worker_died(self, number: int | None, reason: str) -> None:
        logger.warning("%s: %s", "idle worker" if number is None else f"trial {number}", reason)

    def trial_silent(self, number: int, seconds: float) -> None:
        logger.warning("trial %d: no epoch for %.0f s", number, seconds)

    def slot_retired(self, reason: str, left: int) -> None:
        logger.warning("one worker less: %s; the study goes on with %d", reason, left)

    def epochs_planned(self, epochs: int, before: int) -> None:
        logger.info("trials have %d epochs from now on, not %d, so that several fit into the time", epochs, before)

    def steered(self, what: str, budget: int) -> None:
        logger.info("%s; %d trials in all", what, budget)
        if self._view:
            self._view.planned(budget)

    def stopping(self, reason: str) -> None:
        logger.info("no more trials are started: %s", reason)

    def tracking_trouble(self, message: str | None) -> None:
        if message and message != self._trouble:
            logger.warning("%s; what is recorded waits on disk", message)
        self._trouble = message

    def delivering(self, left: int) -> None:
        logger.debug("%d runs are still to arrive in MLflow", left)
