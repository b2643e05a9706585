"""Epochs that a worker tells again, in seconds, before it goes on with a trial that was interrupted."""

from __future__ import annotations

from contextlib import suppress

from sweeper.errors import DamagedFile
from sweeper.paths import StudyFolder
from sweeper.results import read_history
from sweeper.study.ledger import Ledger


class Replays:
    """Knows of each trial how far it had come when its worker got it.

    A worker writes an epoch before it tells of it. So the last one on disk may be new to the study.
    """

    def __init__(self, folder: StudyFolder, store: Ledger):
        self._folder = folder
        self._store = store
        self._on_disk: dict[int, int] = {}
        self._stored: dict[int, int] = {}

    def trial_started(self, number: int) -> None:
        """Take in that a worker gets a trial."""
        self._stored[number] = self._store.last_epoch(number)
        self._on_disk[number] = 0
        with suppress(DamagedFile):  # the worker writes it anew
            history = read_history(self._folder.trial(number).history)
            self._on_disk[number] = history[-1].epoch if history else 0

    def was_trained(self, number: int, epoch: int) -> bool:
        """Return whether an epoch was trained before the worker got the trial."""
        return epoch <= max(self._on_disk.get(number, 0), self._stored.get(number, 0))

    def was_judged(self, number: int, epoch: int) -> bool:
        """Return whether the study had an epoch before, and so has decided whether its trial ends with it."""
        return epoch <= self._stored.get(number, 0)
