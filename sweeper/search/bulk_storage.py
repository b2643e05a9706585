"""Optuna's storage, with thousands of trials read at once.

Optuna builds an object of its own for every parameter, attribute and value of every trial, and reads a parameter's
distribution twice from JSON: 20 s and 900 MB for a study of 20,000 trials. Here the tables are read as they are, and
what is the same in all trials is made once. What comes out is the same: tests/search/test_bulk_storage.py.
"""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Collection, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from math import inf, nan
from sys import intern
from typing import Any, NamedTuple, TypeVar

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Row, String, and_, exists, func, insert, select, type_coerce
from sqlalchemy.dialects import postgresql, sqlite

from sweeper.search.as_written import read_as_written

MOST_NAMED = 500
"""Trials that a query names one by one; of more it says what they have in common."""

AT_ONCE = 500
"""Trials that are read in brief at a time: what the database gives is larger than what is kept of it."""

NOT_FINITE = {"INF_POS": inf, "INF_NEG": -inf, "NAN": nan}

V = TypeVar("V")
ByTrial = dict[int, dict[Any, V]]

UPSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

distribution_of = cache(json_to_distribution)


class Drawn(NamedTuple):
    """A parameter that was drawn for a trial, its value as Optuna keeps it."""

    name: str
    value: float
    distribution: BaseDistribution


class Reported(NamedTuple):
    """What a trial has reported at a step."""

    trial_id: int
    step: int
    value: float


class Counts(NamedTuple):
    """How many trials of a study have ended, how many there are, and how many could be its best one."""

    ended: int
    known: int
    complete: int


@cache
def _put_reported(dialect: str) -> Any:
    put = UPSERTS[dialect](models.TrialIntermediateValueModel)
    changed = {name: put.excluded[name] for name in ("intermediate_value", "intermediate_value_type")}
    return put.on_conflict_do_update(index_elements=["trial_id", "step"], set_=changed)


class BulkStorage(RDBStorage):
    """Optuna's storage in a database; only the reading of many trials is ours, and two writes that read nothing."""

    def add_params(self, trial_id: int, drawn: Sequence[Drawn]) -> None:
        """Write parameters of a trial that has none of them, in one transaction."""
        rows = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(distribution),
            }
            for name, value, distribution in drawn
        ]
        with self.engine.begin() as connection:
            connection.execute(insert(models.TrialParamModel), rows)

    def put_intermediate_values(self, reported: Sequence[Reported]) -> None:
        """Write what trials have reported, in place of what stands there, in one transaction."""
        if self.engine.dialect.name not in UPSERTS:
            for trial_id, step, value in reported:
                self.set_trial_intermediate_value(trial_id, step, value)
            return
        rows = []
        for trial_id, step, value in reported:
            stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
            row = {"trial_id": trial_id, "step": step, "intermediate_value": stored, "intermediate_value_type": kind}
            rows.append(row)
        with self.engine.begin() as connection:
            connection.execute(_put_reported(self.engine.dialect.name), rows)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with read_as_written(self.engine), self.engine.connect() as connection, _without_collecting():
            yield connection

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
        with self._reading() as connection:
            return _trials(connection, _wanted(study_id, states, named, trial_id_greater_than))

    def brief_trials(self, study_id: int, above: int, ended_by: str) -> Iterator[FrozenTrial]:
        """Give the trials whose ids are larger, without Optuna's own attributes and values, by id.

        Those that have the user attribute `ended_by` come without what they have reported, too.
        """
        newer = _wanted(study_id, None, set(), above)
        with self._reading() as connection:
            for part in _in_parts(connection, newer, AT_ONCE):
                within = models.TrialModel.trial_id.between(part[0][0], part[-1][0])
                yield from _trials(connection, newer & within, ended_by)

    def in_brief(self, study_id: int, state: TrialState) -> Iterator[FrozenTrial]:
        """Give the trials of a state by id, with their parameters and values alone; pruned ones with their reports."""
        wanted = _wanted(study_id, (state,), set(), -1)
        with self._reading() as connection:
            for part in _in_parts(connection, wanted, AT_ONCE):
                chosen = _Chosen([trial for trial, _ in part], wanted)
                (params, distributions), values = _params(connection, chosen), _values(connection, chosen)
                reported = _intermediate_values(connection, chosen) if state is TrialState.PRUNED else {}
                for trial, number in part:
                    yield FrozenTrial(
                        number=number,
                        state=state,
                        value=None,
                        values=list(values[trial].values()) or None,
                        datetime_start=None,
                        datetime_complete=None,
                        params=params.get(trial, {}),
                        distributions=distributions.get(trial, {}),
                        user_attrs={},
                        system_attrs={},
                        intermediate_values=reported.get(trial, {}),
                        trial_id=trial,
                    )

    def curves(self, study_id: int, numbers: Collection[int]) -> dict[int, dict[int, float]]:
        """Return what trials have reported, by their number and the step."""
        table, wanted = models.TrialModel, sorted(numbers)
        curves: dict[int, dict[int, float]] = {}
        with self._reading() as connection:
            for start in range(0, len(wanted), MOST_NAMED):
                named = table.number.in_(wanted[start : start + MOST_NAMED])
                for part in _in_parts(connection, (table.study_id == study_id) & named, MOST_NAMED):
                    reported = _intermediate_values(connection, _Chosen([trial for trial, _ in part], named))
                    curves |= {number: reported.get(trial, {}) for trial, number in part}
        return curves

    def study_names(self, having: str) -> list[str]:
        """Return the names of the studies that have a user attribute, the one whose first trial began last first."""
        study, trial, kept = models.StudyModel, models.TrialModel, models.StudyUserAttributeModel
        began = func.min(trial._datetime_start_utc)
        query = select(study.study_name, began).outerjoin(trial, trial.study_id == study.study_id)
        query = query.where(study.study_id.in_(select(kept.study_id).where(kept.key == having)))
        with self._reading() as connection:
            found = connection.execute(query.group_by(study.study_id, study.study_name).order_by(study.study_id)).all()
        return [name for name, _ in sorted(found, key=lambda row: (row[1] is not None, row[1]), reverse=True)]

    def counts(self, study_id: int) -> Counts:
        """Return how many trials of a study there are."""
        table = models.TrialModel
        with self._reading() as connection:
            counts = connection.execute(
                select(table.state, func.count()).where(table.study_id == study_id).group_by(table.state)
            ).all()
        by_state = {state: int(count) for state, count in counts}
        ended = sum(count for state, count in by_state.items() if state.is_finished())
        return Counts(ended, sum(by_state.values()), by_state.get(TrialState.COMPLETE, 0))

    def count_with(self, study_id: int, attribute: str) -> int:
        """Return how many trials of a study have a user attribute."""
        trial, kept = models.TrialModel, models.TrialUserAttributeModel
        having = select(func.count()).select_from(kept).join(trial, kept.trial_id == trial.trial_id)
        with self._reading() as connection:
            wanted = having.where(trial.study_id == study_id, kept.key == attribute)
            return int(connection.execute(wanted).scalar_one())

    def latest_trials(self, study_id: int, most: int) -> list[FrozenTrial]:
        """Return the trials with the highest numbers and the first that have not ended, at most this many of each."""
        table = models.TrialModel
        numbers = select(table.trial_id).where(table.study_id == study_id)
        open_ones = numbers.where(table.state.in_((TrialState.RUNNING, TrialState.WAITING))).order_by(table.number)
        with self._reading() as connection:
            queries = (open_ones, numbers.order_by(table.number.desc()))
            named = {trial for query in queries for (trial,) in connection.execute(query.limit(most))}
            return _trials(connection, table.trial_id.in_(named))


def _wanted(study: int, states: Container[TrialState] | None, named: set[int], above: int) -> ColumnElement[bool]:
    trials = models.TrialModel
    wanted: list[ColumnElement[bool]] = [trials.study_id == study]
    if states is not None:
        wanted.append(trials.state.in_([state for state in TrialState if state in states]))
    if above > -1:
        newer = trials.trial_id > above
        wanted.append(newer | trials.trial_id.in_(named) if named else newer)
    return and_(*wanted)


def _in_parts(connection: Connection, wanted: ColumnElement[bool], size: int) -> Iterator[Sequence[Row[int, int]]]:
    """Give ids and numbers of trials, by id, this many trials at a time."""
    table = models.TrialModel
    query = select(table.trial_id, table.number).where(wanted).order_by(table.trial_id)
    known = connection.execute(query).all()
    for start in range(0, len(known), size):
        yield known[start : start + size]


@dataclass(frozen=True)
class _Chosen:
    """Some trials, by their ids in order, and what they have in common."""

    ids: Sequence[int]
    common: ColumnElement[bool]

    def rows_of(self, table: Any) -> ColumnElement[bool]:
        """Return what is true of their rows in a table, so that the database finds them by its index."""
        if len(self.ids) <= MOST_NAMED:
            return and_(table.trial_id.in_(self.ids))
        belongs = exists().where(models.TrialModel.trial_id == table.trial_id, self.common)
        return and_(table.trial_id.between(self.ids[0], self.ids[-1]), belongs)


def _trials(connection: Connection, wanted: ColumnElement[bool], ended_by: str | None = None) -> list[FrozenTrial]:
    """Return trials whole, or in brief: see `brief_trials`."""
    table = models.TrialModel
    columns = (table.trial_id, table.number, table.state, table._datetime_start_utc, table._datetime_complete_utc)
    trials = connection.execute(select(*columns).where(wanted).order_by(table.trial_id)).all()
    chosen = _Chosen([trial for trial, *_ in trials], wanted)
    params, distributions = _params(connection, chosen)
    values = {} if ended_by else _values(connection, chosen)
    user = _attributes(connection, chosen, models.TrialUserAttributeModel)
    system = {} if ended_by else _attributes(connection, chosen, models.TrialSystemAttributeModel)
    still = [trial for trial in chosen.ids if ended_by is None or ended_by not in user.get(trial, {})]
    reported = _intermediate_values(connection, _Chosen(still, wanted))
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


def _rows(connection: Connection, chosen: _Chosen, table: Any, *columns: Any, by: Any) -> Sequence[Any]:
    """Return some columns of the rows that belong to trials."""
    if not chosen.ids:
        return ()
    query = select(table.trial_id, *columns).where(chosen.rows_of(table)).order_by(by)
    return connection.execute(query).all()


def _params(connection: Connection, chosen: _Chosen) -> tuple[ByTrial[Any], ByTrial[BaseDistribution]]:
    table = models.TrialParamModel
    columns = (table.param_name, table.param_value, table.distribution_json)
    params: ByTrial[Any] = defaultdict(dict)
    distributions: ByTrial[BaseDistribution] = defaultdict(dict)
    for trial, name, value, text in _rows(connection, chosen, table, *columns, by=table.param_id):
        distribution, same = distribution_of(text), intern(name)
        distributions[trial][same] = distribution
        params[trial][same] = distribution.to_external_repr(value)
    return params, distributions


def _values(connection: Connection, chosen: _Chosen) -> ByTrial[float]:
    table = models.TrialValueModel
    columns = (table.objective, table.value, type_coerce(table.value_type, String))
    values: ByTrial[float] = defaultdict(dict)
    for trial, objective, value, kind in _rows(connection, chosen, table, *columns, by=table.objective):
        values[trial][objective] = NOT_FINITE.get(kind, value)
    return values


def _intermediate_values(connection: Connection, chosen: _Chosen) -> ByTrial[float]:
    table = models.TrialIntermediateValueModel
    columns = (table.step, table.intermediate_value, type_coerce(table.intermediate_value_type, String))
    values: ByTrial[float] = defaultdict(dict)
    for trial, step, value, kind in _rows(connection, chosen, table, *columns, by=table.trial_intermediate_value_id):
        values[trial][step] = value if value is not None else NOT_FINITE[kind]
    return values


def _attributes(connection: Connection, chosen: _Chosen, table: Any) -> ByTrial[Any]:
    key = next(iter(table.__table__.primary_key))
    attributes: ByTrial[Any] = defaultdict(dict)
    for trial, name, text in _rows(connection, chosen, table, table.key, table.value_json, by=key):
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
