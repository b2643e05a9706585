"""All runs of an experiment, and of each only what distinguishes it from the others.

MLflow reads a run with all its metrics, parameters and tags, or not at all: a minute and 3 GB for 20,000 runs. Where
its tables can be reached they are asked for no more than is needed; a server is asked page by page, and what is not
needed is dropped at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAGE = 1000  # runs that are asked for at once
AT_ONCE = 8  # requests to a server

Curve = dict[int, float]  # by step
Point = tuple[str, str, int, float]  # run, name, step, value


@dataclass(frozen=True)
class ListedRun:
    """One run: where its files are, and those of its tags that were asked for."""

    id: str
    name: str
    status: str
    artifacts: str
    tags: dict[str, str]


def list_runs(client: MlflowClient, experiment: str, tags: Sequence[str]) -> list[ListedRun]:
    """Return all runs of an experiment that are not deleted, oldest first."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = client._tracking_client.store
    found = _in_database if isinstance(store, SqlAlchemyStore) else _on_server
    return list(found(client, experiment, tags))


def read_curves(client: MlflowClient, runs: Sequence[str], metrics: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Return each of these metrics that a run has, by run, name and step, in order."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = client._tracking_client.store
    found = _points_in_database if isinstance(store, SqlAlchemyStore) else _points_on_server
    curves: dict[str, dict[str, Curve]] = {run: {} for run in runs}
    for run, name, step, value in found(client, runs, metrics):
        curves[run].setdefault(name, {})[step] = value
    return {run: {name: dict(sorted(curve.items())) for name, curve in own.items()} for run, own in curves.items()}


def _in_database(client: MlflowClient, experiment: str, tags: Sequence[str]) -> Iterator[ListedRun]:
    from mlflow.entities import LifecycleStage
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import select

    store: Any = client._tracking_client.store
    wanted: Any = (SqlRun.experiment_id == int(experiment), SqlRun.lifecycle_stage == LifecycleStage.ACTIVE)
    tag: Any = SqlTag
    tagged = select(tag.run_uuid, tag.key, tag.value).join(SqlRun, tag.run_uuid == SqlRun.run_uuid).where(*wanted)
    query: Any = (
        select(SqlRun.run_uuid, SqlRun.name, SqlRun.status, SqlRun.artifact_uri)
        .where(*wanted)
        .order_by(SqlRun.start_time, SqlRun.run_uuid)  # as MLflow orders what began at the same time
    )
    found: dict[str, dict[str, str]] = {}
    with store.ManagedSessionMaker() as session:
        for run, key, value in session.execute(tagged.where(tag.key.in_(tags))):
            found.setdefault(run, {})[key] = value
        for run, name, status, artifacts in session.execute(query):
            yield ListedRun(run, name, status, artifacts, found.get(run, {}))


def _on_server(client: MlflowClient, experiment: str, tags: Sequence[str]) -> Iterator[ListedRun]:
    token: str | None = None
    while True:
        runs = client.search_runs(
            [experiment], max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
        )
        for run in runs:
            info, known = run.info, run.data.tags
            found = {tag: known[tag] for tag in tags if tag in known}
            yield ListedRun(info.run_id, info.run_name, info.status, info.artifact_uri, found)
        token = runs.token
        if not token:
            return


def _points_in_database(client: MlflowClient, runs: Sequence[str], metrics: Sequence[str]) -> Iterator[Point]:
    """Give the points of the runs, the later of two at a step last; MLflow itself would look through those of all."""
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import select

    store: Any = client._tracking_client.store
    table: Any = SqlMetric
    for start in range(0, len(runs), PAGE):
        query = (
            select(table.run_uuid, table.key, table.step, table.value, table.is_nan)
            .where(table.run_uuid.in_(runs[start : start + PAGE]), table.key.in_(metrics))
            .order_by(table.timestamp)
        )
        with store.ManagedSessionMaker() as session:
            for run, name, step, value, is_nan in session.execute(query):
                yield run, name, step, nan if is_nan else value


def _points_on_server(client: MlflowClient, runs: Sequence[str], metrics: Sequence[str]) -> Iterator[Point]:
    wanted = [(run, name) for run in runs for name in metrics]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="curves") as threads:
        histories = threads.map(lambda one: client.get_metric_history(*one), wanted)
        for (run, name), points in zip(wanted, histories, strict=True):
            for point in points:
                yield run, name, point.step, point.value
