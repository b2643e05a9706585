"""Thousands of trials put into a study at once; Optuna takes a transaction and a dozen queries for each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import func, insert, select


def add_trials(storage: RDBStorage, study_id: int, trials: Sequence[FrozenTrial]) -> None:
    """Add trials to a study that nobody else writes to, all or none; their numbers go on from those that it has."""
    for trial in trials:
        trial._validate()
    if not storage.engine.dialect.insert_executemany_returning_sort_by_parameter_order:
        for trial in trials:  # the database does not return the ids it gave them
            storage.create_new_trial(study_id, trial)
        return
    table = models.TrialModel
    with storage.engine.begin() as connection:
        query = select(func.count()).where(table.study_id == study_id)
        first = connection.execute(query).scalar_one()
        rows = [_row(trial, study_id, number) for number, trial in enumerate(trials, first)]
        given = insert(table.__table__).returning(table.trial_id, sort_by_parameter_order=True)
        ids = connection.execute(given, rows).scalars().all() if rows else []
        parts: dict[Any, list[dict[str, Any]]] = {}
        for trial_id, trial in zip(ids, trials, strict=True):
            for model, row in _parts(trial):
                parts.setdefault(model.__table__, []).append({"trial_id": trial_id, **row})
        for part, content in parts.items():
            connection.execute(insert(part), content)


def _row(trial: FrozenTrial, study_id: int, number: int) -> dict[str, Any]:
    times = {
        "datetime_start": _universal(trial.datetime_start),
        "datetime_complete": _universal(trial.datetime_complete),
    }
    return {"study_id": study_id, "number": number, "state": trial.state, **times}


def _parts(trial: FrozenTrial) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Give what a trial has in other tables, each with its table."""
    for objective, value in enumerate(trial.values or ()):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        yield models.TrialValueModel, {"objective": objective, "value": stored, "value_type": kind}
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        stored, text = distribution.to_internal_repr(value), distribution_to_json(distribution)
        yield models.TrialParamModel, {"param_name": name, "param_value": stored, "distribution_json": text}
    attributes = {
        models.TrialUserAttributeModel: trial.user_attrs,
        models.TrialSystemAttributeModel: trial.system_attrs,
    }
    for model, held in attributes.items():
        for key, value in held.items():
            yield model, {"key": key, "value_json": json.dumps(value)}
    reports = models.TrialIntermediateValueModel
    for step, value in trial.intermediate_values.items():
        stored, finite = reports.intermediate_value_to_stored_repr(value)
        yield reports, {"step": step, "intermediate_value": stored, "intermediate_value_type": finite}


def _universal(time: datetime | None) -> datetime | None:
    """Return a time of this place as the storage holds it."""
    return time.astimezone(UTC).replace(tzinfo=None) if time is not None else None
