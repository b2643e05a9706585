"""Folds that are trained ahead: where slots are free, those of one cross-validated trial run beside each other."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.engines.protocol import Engine, FoldAhead
from sweeper.paths import StudyFolder
from sweeper.results import TrialSpec


class FoldsAhead:
    """Gives slots that no trial waits for the later folds of trials under way.

    The worker of a trial takes its folds from the first on, so these are taken from the last on, and none twice. The
    trial goes on to report its folds in their order, whoever has trained them.
    """

    def __init__(self, folds: int | None, folder: StudyFolder):
        self._numbers = range(1, (folds or 0) + 1)
        self._folder = folder
        self._given: set[tuple[int, int]] = set()

    def fill(self, engine: Engine, live: Iterable[TrialSpec]) -> None:
        """Let idle slots train folds, as long as there are any of trials that are live."""
        for trial in live:
            for fold in self._left(trial.number):
                if not engine.idle or not engine.train_ahead(FoldAhead(trial, fold)):
                    return
                self._given.add((trial.number, fold))

    def _left(self, number: int) -> list[int]:
        """Return the folds that nobody is at, the last one first; the first of them is left to the trial's worker."""
        folder = self._folder.trial(number)
        open_ones = [
            fold
            for fold in self._numbers
            if (number, fold) not in self._given and not folder.fold(fold).outcome.exists()
        ]
        return open_ones[:0:-1]
