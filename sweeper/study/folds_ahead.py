"""Folds that are trained ahead: where slots are free, several folds of a cross-validated trial run at once."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.engines.protocol import Engine, FoldAhead
from sweeper.paths import StudyFolder
from sweeper.results import TrialSpec


class FoldsAhead:
    """Gives the later folds of running trials to free slots.

    The worker of a trial begins with the first fold, so free slots begin with the last one, and none is given twice.
    The trial reports its folds in their order, whichever worker has trained them.
    """

    def __init__(self, folds: int | None, folder: StudyFolder):
        self._numbers = range(1, (folds or 0) + 1)
        self._folder = folder
        self._given: set[tuple[int, int]] = set()

    def fill(self, engine: Engine, live: Iterable[TrialSpec]) -> None:
        """Let idle slots train folds of the trials that are live, while there are both."""
        for trial in live:
            for fold in self._left(trial.number):
                if not engine.idle or not engine.train_ahead(FoldAhead(trial, fold)):
                    return
                self._given.add((trial.number, fold))

    def forget(self, number: int) -> None:
        """Let the folds of a trial that has lost its worker be given again."""
        self._given = {given for given in self._given if given[0] != number}

    def _left(self, number: int) -> list[int]:
        """Return the folds that nobody trains, the last one first, but not the next one of the trial's worker."""
        folder = self._folder.trial(number)
        open_ones = [
            fold
            for fold in self._numbers
            if (number, fold) not in self._given and not folder.fold(fold).outcome.exists()
        ]
        return open_ones[:0:-1]
