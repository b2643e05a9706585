"""Removing a study from its storage: table by table, since Optuna would first read every trial whole."""

from __future__ import annotations

from typing import Any

from optuna.storages._rdb import models
from sqlalchemy import Connection, delete, select

from sweeper.search.lease import require_number
from sweeper.search.storage import open_storage, storage_errors, study_not_found
from sweeper.search.stored_trial import ASIDE

OF_TRIALS: tuple[Any, ...] = (
    models.TrialUserAttributeModel,
    models.TrialSystemAttributeModel,
    models.TrialParamModel,
    models.TrialValueModel,
    models.TrialIntermediateValueModel,
    models.TrialHeartbeatModel,
)
OF_STUDIES: tuple[Any, ...] = (
    models.TrialModel,
    models.StudyDirectionModel,
    models.StudyUserAttributeModel,
    models.StudySystemAttributeModel,
    models.StudyModel,
)
"""What belongs to a trial or a study, in an order in which nothing refers to what is gone already."""


def remove_study(storage_url: str, name: str, lease: int | None) -> None:
    """Remove a study, and what its extensions have kept aside, all at once, if the lease still has this number.

    Raises StudyTakenOver where another process has taken it, StudyNotFound.
    """
    with storage_errors(storage_url):
        storage = open_storage(storage_url)
        try:
            try:
                study = storage.get_study_id_from_name(name)
            except KeyError:
                raise study_not_found(storage, name) from None
            with storage.engine.begin() as connection:
                require_number(connection, study, name, lease)
                _remove(connection, name)
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _remove(connection: Connection, name: str) -> None:
    known = connection.execute(select(models.StudyModel.study_id, models.StudyModel.study_name)).all()
    # Compared here: LIKE takes `Digits` for `digits` in SQLite.
    studies = [study for study, called in known if called == name or called.startswith(name + ASIDE)]
    trials = select(models.TrialModel.trial_id).where(models.TrialModel.study_id.in_(studies))
    for table in OF_TRIALS:
        connection.execute(delete(table).where(table.trial_id.in_(trials)))
    for table in OF_STUDIES:
        connection.execute(delete(table).where(table.study_id.in_(studies)))
