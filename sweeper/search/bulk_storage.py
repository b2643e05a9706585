"""Optuna's storage, with thousands of trials read at once.

Optuna builds an object of its own for every parameter, attribute and value of every trial, and reads a parameter's
distribution twice from JSON: 20 s and 900 MB for a study of 20,000 trials. Here the tables are read as they are, and
what is the same in all trials is made once. What comes out is the same: tests/search/test_bulk_storage.py.
"""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from math import inf, nan
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, String, and_, exists, select, type_coerce

MOST_NAMED = 10_000
"""Trials that a query may name; databases take some 30,000 values in one."""

NOT_FINITE = {"INF_POS": inf, "INF_NEG": -inf, "NAN": nan}

V = TypeVar("V")
ByTrial = dict[int, dict[Any, V]]

distribution_of = cache(json_to_distribution)


class BulkStorage(RDBStorage):
    """Optuna's storage in a database; only the reading of many trials is ours."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return the trials whose ids are larger, or among those included, by id."""
        named = {trial for trial in included_trial_ids if trial <= trial_id_greater_than}
        if len(named) > MOST_NAMED:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        wanted = _wanted(study_id, states, named, trial_id_greater_than)
        with self.engine.connect() as connection, _without_collecting():
            return _trials(connection, wanted)


def _wanted(study: int, states: Container[TrialState] | None, named: set[int], above: int) -> ColumnElement[bool]:
    trials = models.TrialModel
    wanted: list[ColumnElement[bool]] = [trials.study_id == study]
    if states is not None:
        wanted.append(trials.state.in_([state for state in TrialState if state in states]))
    if above > -1:
        newer = trials.trial_id > above
        wanted.append(newer | trials.trial_id.in_(named) if named else newer)
    return and_(*wanted)


def _trials(connection: Connection, wanted: ColumnElement[bool]) -> list[FrozenTrial]:
    table = models.TrialModel
    columns = (table.trial_id, table.number, table.state, table._datetime_start_utc, table._datetime_complete_utc)
    trials = connection.execute(select(*columns).where(wanted).order_by(table.trial_id)).all()
    if not trials:
        return []
    params, distributions = _params(connection, wanted)
    values = _values(connection, wanted)
    user, system = (
        _attributes(connection, wanted, kind)
        for kind in (models.TrialUserAttributeModel, models.TrialSystemAttributeModel)
    )
    reported = _intermediate_values(connection, wanted)
    return [
        FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=list(values[trial].values()) if trial in values else None,
            datetime_start=_local(started),
            datetime_complete=_local(ended),
            params=params.get(trial, {}),
            distributions=distributions.get(trial, {}),
            user_attrs=user.get(trial, {}),
            system_attrs=system.get(trial, {}),
            intermediate_values=reported.get(trial, {}),
            trial_id=trial,
        )
        for trial, number, state, started, ended in trials
    ]


def _rows(connection: Connection, wanted: ColumnElement[bool], table: Any, *columns: Any, by: Any) -> Iterable[Any]:
    """Return some columns of the rows that belong to the trials wanted."""
    belongs = exists().where(models.TrialModel.trial_id == table.trial_id, wanted)
    return connection.execute(select(table.trial_id, *columns).where(belongs).order_by(by)).all()


def _params(connection: Connection, wanted: ColumnElement[bool]) -> tuple[ByTrial[Any], ByTrial[BaseDistribution]]:
    table = models.TrialParamModel
    columns = (table.param_name, table.param_value, table.distribution_json)
    params: ByTrial[Any] = defaultdict(dict)
    distributions: ByTrial[BaseDistribution] = defaultdict(dict)
    for trial, name, value, text in _rows(connection, wanted, table, *columns, by=table.param_id):
        distributions[trial][name] = distribution = distribution_of(text)
        params[trial][name] = distribution.to_external_repr(value)
    return params, distributions


def _values(connection: Connection, wanted: ColumnElement[bool]) -> ByTrial[float]:
    table = models.TrialValueModel
    columns = (table.objective, table.value, type_coerce(table.value_type, String))
    values: ByTrial[float] = defaultdict(dict)
    for trial, objective, value, kind in _rows(connection, wanted, table, *columns, by=table.objective):
        values[trial][objective] = NOT_FINITE.get(kind, value)
    return values


def _intermediate_values(connection: Connection, wanted: ColumnElement[bool]) -> ByTrial[float]:
    table = models.TrialIntermediateValueModel
    columns = (table.step, table.intermediate_value, type_coerce(table.intermediate_value_type, String))
    values: ByTrial[float] = defaultdict(dict)
    for trial, step, value, kind in _rows(connection, wanted, table, *columns, by=table.trial_intermediate_value_id):
        values[trial][step] = value if value is not None else NOT_FINITE[kind]
    return values


def _attributes(connection: Connection, wanted: ColumnElement[bool], table: Any) -> ByTrial[Any]:
    key = next(iter(table.__table__.primary_key))
    attributes: ByTrial[Any] = defaultdict(dict)
    for trial, name, text in _rows(connection, wanted, table, table.key, table.value_json, by=key):
        attributes[trial][name] = json.loads(text)
    return attributes


def _local(time: datetime | None) -> datetime | None:
    """Return a time as Optuna gives it: of this place, while the storage holds universal time."""
    return time.replace(tzinfo=UTC).astimezone().replace(tzinfo=None) if time is not None else None


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Let the garbage collector rest: what is read stays, and to look through it again and again takes long."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
