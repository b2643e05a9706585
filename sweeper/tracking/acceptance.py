"""Asking MLflow, before anything is written, whether it will take a study's records."""

from __future__ import annotations

import logging
import threading

from sweeper.addresses import sqlite_file
from sweeper.errors import TrackingError, TrackingRefused
from sweeper.paths import Workspace
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.study_records import Recorded, StudyRecords

logger = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""How long a sweep waits for the answer: a server that is away, or hangs, does not keep trials from training."""


def require_acceptance(workspace: Workspace, uri: str, recorded: Recorded) -> None:
    """Raise TrackingRefused where it is certain that MLflow will not take these records; a server may be away."""
    database = workspace.mlflow_database
    if sqlite_file(uri, workspace.root) == database and not database.exists():
        return  # it is made with the first record
    asked = _Question(workspace, uri, recorded)
    asked.start()
    asked.join(PATIENCE_S)
    if asked.refused is not None:
        raise asked.refused


class _Question(threading.Thread):
    """Asks aside, since MLflow cannot be made to stop waiting."""

    def __init__(self, workspace: Workspace, uri: str, recorded: Recorded):
        super().__init__(name="acceptance", daemon=True)
        self._workspace, self._uri, self._recorded = workspace, uri, recorded
        self.refused: TrackingRefused | None = None

    def run(self) -> None:
        try:
            StudyRecords(MlflowStore(self._uri, self._workspace), self._recorded).examine()
        except TrackingRefused as error:
            self.refused = error
        except TrackingError as error:
            logger.debug("not known yet whether the records are taken: %s", error)  # the outbox reports it
