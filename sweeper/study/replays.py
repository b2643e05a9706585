"""Epochs that a worker tells again, in seconds, before it goes on with a trial that was interrupted."""

from __future__ import annotations

from contextlib import suppress

from sweeper.errors import DamagedFile
from sweeper.paths import StudyFolder
from sweeper.results import EpochMetrics, read_history
from sweeper.study.ledger import Ledger


class Replays:
    """Knows of each trial how far it had come when its worker got it.

    A worker writes an epoch before it tells of it. So the last one on disk may be new to the study.
    """

    def __init__(self, folder: StudyFolder, store: Ledger):
        self._folder = folder
        self._store = store
        self._on_disk: dict[int, dict[int, int]] = {}
        self._stored: dict[int, int] = {}

    def trial_started(self, number: int) -> None:
        """Take in that a worker gets a trial."""
        self._stored[number] = self._store.last_epoch(number)
        self._on_disk[number] = {}
        with suppress(DamagedFile):  # the worker writes it again
            history = read_history(self._folder.trial(number).history)
            self._on_disk[number] = {metrics.epoch: metrics.timestamp_ms for metrics in history}

    def was_trained(self, number: int, metrics: EpochMetrics) -> bool:
        """Return whether an epoch was trained before the worker got the trial.

        Where a checkpoint is lost, an epoch that was told before is trained once more, and has another time.
        """
        on_disk = self._on_disk.get(number)
        if not on_disk:
            return metrics.epoch <= self._stored.get(number, 0)
        return on_disk.get(metrics.epoch) == metrics.timestamp_ms

    def was_judged(self, number: int, metrics: EpochMetrics) -> bool:
        """Return whether the study had this epoch before, and so has decided whether its trial ends with it."""
        return metrics.epoch <= self._stored.get(number, 0) and self.was_trained(number, metrics)
