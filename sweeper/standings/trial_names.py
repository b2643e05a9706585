"""Trials by the names that people give them: STUDY, STUDY/NUMBER, STUDY/best, or the id of an MLflow run."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sweeper.errors import StudyError, StudyNotFound
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.standings.winner import winner_of
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.tags import ID_TAG, STUDY_TAG, TRIAL_TAG

RUN_ID = re.compile(r"[0-9a-f]{32}")


def trial_of(store: StudyStore, number: int | None) -> TrialRow:
    """Return a trial of a study by its number, without one the winner. Raises StudyNotFound, NoWinner."""
    study, rows = store.sweep.study, store.rows()
    if number is None:
        return winner_of(store)
    row = next((row for row in rows if row.number == number), None)
    if row is None:
        raise StudyNotFound(f"{study} has no trial {number}; see sweeper status {study}")
    return row


@dataclass(frozen=True)
class TrialOfRun:
    """The trial that a run records; `id` is that of its study, where it has one."""

    run: str
    study: str
    number: int
    id: str | None

    def require_study(self, store: StudyStore) -> None:
        """Raise StudyError unless it is a trial of this study, and not of another one of its name."""
        known = store.identity.id if store.identity else None
        if self.id is not None and self.id != known:
            raise StudyError(
                f"the MLflow run {self.run} is of another study {self.study} (id {self.id}) than the one stored here "
                f"(id {known}); name the storage of that one with --storage, or go on from its folder"
            )


def trial_of_run(tracking: MlflowStore, run: str) -> TrialOfRun:
    """Return the trial that a run records. Raises StudyError, TrackingError."""
    tags = tracking.tags(run)
    study, trial = tags.get(STUDY_TAG, ""), tags.get(TRIAL_TAG, "")
    if not study or not trial.isdecimal():
        raise StudyError(f"the MLflow run {run} is no trial of a study of sweeper; name a trial's run, or STUDY/NUMBER")
    return TrialOfRun(run, study, int(trial), tags.get(ID_TAG))
