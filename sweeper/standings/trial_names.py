"""Trials by the names that people give them (`config/trial_name.py`): one way to find them for every command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.trial_name import TrialName, parse_trial_name
from sweeper.errors import StudyError, StudyNotFound
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.standings.winner import winner_of
from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri
from sweeper.tracking.tags import ID_TAG, STUDY_TAG, TRIAL_TAG


def named_trial(text: str) -> TrialName:
    """Return what a name on the command line stands for. Raises StudyError where it has no such form."""
    try:
        return parse_trial_name(text)
    except ValueError as error:
        raise StudyError(str(error)) from error


def trial_of(store: StudyStore, number: int | None) -> TrialRow:
    """Return a trial of a study by its number, without one the winner. Raises StudyNotFound, NoWinner."""
    if number is None:
        return winner_of(store)
    study = store.sweep.study
    row = next((row for row in store.rows() if row.number == number), None)
    if row is None:
        raise StudyNotFound(f"{study} has no trial {number}; see sweeper status {study}")
    return row


def require_weights(store: StudyStore, row: TrialRow) -> tuple[TrialConfig, int]:
    """Return the configuration of a trial and the epoch of its weights. Raises StudyError where it has kept none."""
    study = store.sweep.study
    if row.config is None or row.outcome is None or row.outcome.best_epoch is None or not row.outcome.has_weights:
        raise StudyError(
            f"trial {row.number} of {study} is {row.state} and has no weights; name another: sweeper status {study}"
        )
    return row.config, row.outcome.best_epoch


@dataclass(frozen=True)
class TrialFinder:
    """Finds the study and the trial that a name stands for; `open_store` opens a study by its name."""

    workspace: Workspace
    open_store: Callable[[str], StudyStore]
    tracking_uri: str | None = None

    def find(self, text: str) -> tuple[StudyStore, TrialRow]:
        """Raises StudyError, StudyNotFound and NoWinner, for a run's id TrackingError too."""
        name = named_trial(text)
        if name.run:
            return self._recorded(name.run)
        store = self.open_store(name.study)
        return store, trial_of(store, name.number)

    def _recorded(self, run: str) -> tuple[StudyStore, TrialRow]:
        tracking = MlflowStore(self.tracking_uri or default_tracking_uri(self.workspace), self.workspace)
        found = trial_of_run(tracking, run)
        store = self.open_store(found.study)
        found.require_study(store)
        return store, trial_of(store, found.number)


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


def require_run(tracking: MlflowStore, run: str) -> None:
    """Raise StudyNotFound where MLflow has no such run, or only a deleted one."""
    if tracking.status(run) is None:
        raise StudyNotFound(f"MLflow at {tracking.shown_uri} has no run {run}; its page of a trial shows the run's id")


def trial_of_run(tracking: MlflowStore, run: str) -> TrialOfRun:
    """Return the trial that a run records. Raises StudyNotFound, StudyError, TrackingError."""
    require_run(tracking, run)
    tags = tracking.tags(run)
    study, trial = tags.get(STUDY_TAG, ""), tags.get(TRIAL_TAG, "")
    if not study or not trial.isdecimal():
        raise StudyError(
            f"the MLflow run {run} records no trial of a sweeper study; name a trial's run, or STUDY/NUMBER"
        )
    return TrialOfRun(run, study, int(trial), tags.get(ID_TAG))
