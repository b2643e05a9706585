"""A study's trials as rows; those of ended trials change no more, and are made once."""

from __future__ import annotations

from collections.abc import Iterable

from optuna.trial import FrozenTrial

from sweeper.errors import NOT_AS_WRITTEN
from sweeper.results import TrialRow, TrialState
from sweeper.search.as_written import damaged_storage
from sweeper.search.bulk_storage import BulkStorage
from sweeper.search.stored_trial import FINISHED, OUTCOME, Counts, trial_row


class TrialRows:
    """The rows of one study. `counts` says which value counts of a trial that has not ended."""

    def __init__(self, counts: Counts):
        self._counts = counts
        self._ended: dict[int, TrialRow] = {}
        self._settled = -1  # up to this id of Optuna's all trials have ended, and their rows are known

    def of(self, trials: Iterable[FrozenTrial]) -> list[TrialRow]:
        """Return the rows of trials that have been read."""
        return [self._row(trial) for trial in trials]

    def read(self, storage: BulkStorage, study_id: int) -> list[TrialRow]:
        """Return the rows of all trials by number: read in brief, and of those that have ended each once."""
        found, settled = dict(self._ended), True
        for trial in storage.brief_trials(study_id, self._settled, OUTCOME):
            found[trial.number] = self._row(trial)
            settled &= trial.state in FINISHED
            self._settled = trial._trial_id if settled else self._settled
        return [found[number] for number in sorted(found)]

    def _row(self, trial: FrozenTrial) -> TrialRow:
        known = self._ended.get(trial.number)
        if known is not None:
            return known
        row = _as_written(trial, self._counts)
        if trial.state in FINISHED:
            self._ended[trial.number] = row
        return row


def _as_written(trial: FrozenTrial, counts: Counts) -> TrialRow:
    """Return a trial's row. Raises DamagedFile where the storage holds something else of it than was written."""
    try:
        row = trial_row(trial, counts)
        if row.state is TrialState.COMPLETE and trial.values and len(trial.values) == 1:
            _require_same_value(trial.values[0], row.value)
    except NOT_AS_WRITTEN as error:
        what = f"the study storage holds something else of trial {trial.number}"
        raise damaged_storage(what, error) from error
    return row


def _require_same_value(value: float, reached: float | None) -> None:
    """Raise ValueError where the sampler would learn from another value than the trial has reached."""
    if reached is not None and value != reached:
        raise ValueError(f"its value is {value:g} in one place and {reached:g} in another")
