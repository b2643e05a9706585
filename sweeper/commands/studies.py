"""Finding the study that a command is about: the working directory, the storage, the name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.paths import Workspace
    from sweeper.results import TrialRow
    from sweeper.search.study_store import StudyStore


def this_workspace() -> Workspace:
    from sweeper.paths import Workspace

    return Workspace(Path.cwd())


def storage_url(workspace: Workspace, storage: str | None) -> str:
    from sweeper.search.stored_studies import storage_url

    return storage_url(workspace, storage)


def open_study(workspace: Workspace, storage: str | None, study: str | None) -> StudyStore:
    """Open the study of this name, or the latest. Raises StudyNotFound."""
    from sweeper.search.stored_studies import open_study

    return open_study(workspace, storage, study)


def require_storage(workspace: Workspace, storage: str | None) -> None:
    """Raise StudyNotFound where no storage is named and this folder has none, saying what was in it."""
    from sweeper.search.stored_studies import require_storage

    require_storage(workspace, storage)


def require_records(workspace: Workspace, tracking_uri: str | None) -> None:
    """Raise StudyError where runs are to be read from this folder's own MLflow database, and there is none."""
    from sweeper.addresses import sqlite_file
    from sweeper.errors import StudyError
    from sweeper.tracking.mlflow_store import default_tracking_uri

    database = workspace.mlflow_database
    uri = tracking_uri or default_tracking_uri(workspace)
    if sqlite_file(uri, workspace.root) == database and not database.exists():
        raise StudyError(
            f"{workspace.root} has no {database.name}, which holds the runs of trials: go to the folder of the study, "
            "or name its MLflow with --tracking-uri"
        )


def has_studies(workspace: Workspace, storage: str | None) -> bool:
    from sweeper.search.stored_studies import study_names

    there = bool(storage) or workspace.optuna_database.exists()
    return there and bool(study_names(storage_url(workspace, storage)))


def open_trial(
    workspace: Workspace, storage: str | None, name: str | None, tracking_uri: str | None
) -> tuple[StudyStore, TrialRow]:
    """Return a trial by its name (`config/trial_name.py`), without one the best of the latest study.

    Raises StudyError, StudyNotFound and NoWinner, for a run's id TrackingError too.
    """
    from sweeper.standings.trial_names import TrialFinder, named_trial

    if name is None:
        store = open_study(workspace, storage, None)
        return store, winner_of(store)
    if named_trial(name).run:
        require_records(workspace, tracking_uri)
    finder = TrialFinder(workspace, lambda study: open_study(workspace, storage, study), tracking_uri)
    return finder.find(name)


def winner_of(store: StudyStore, prefer: str | None = None, within: float | None = None) -> TrialRow:
    """Return the trial that a confirmation chose, else the best that has finished; or the one that is preferred.

    Raises NoWinner when none has finished, ConfigError for a metric that trials do not have.
    """
    from sweeper.standings import winner
    from sweeper.standings.pareto import choose

    chosen = winner.winner_of(store)
    return chosen if prefer is None else choose(store.rows(), store.sweep, prefer, within) or chosen
