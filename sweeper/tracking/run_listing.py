"""All runs of an experiment, and of each only what tells it from the others.

MLflow reads a run with all its metrics, parameters and tags, or not at all: a minute and 3 GB for 20,000 runs. Where
its tables can be reached they are asked for no more than is needed; a server is asked page by page, and what is not
needed is dropped at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAGE = 1000  # runs that a server is asked for at once


@dataclass(frozen=True)
class ListedRun:
    """One run, and the value of one of its tags; None where it has no such tag."""

    id: str
    name: str
    status: str
    tag: str | None


def list_runs(client: MlflowClient, experiment: str, tag: str) -> list[ListedRun]:
    """Return all runs of an experiment that are not deleted, oldest first."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = client._tracking_client.store
    found = _in_database if isinstance(store, SqlAlchemyStore) else _on_server
    return list(found(client, experiment, tag))


def _in_database(client: MlflowClient, experiment: str, tag: str) -> Iterator[ListedRun]:
    from mlflow.entities import LifecycleStage
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import and_, select

    store: Any = client._tracking_client.store
    tagged = and_(SqlTag.run_uuid == SqlRun.run_uuid, SqlTag.key == tag)
    query: Any = (
        select(SqlRun.run_uuid, SqlRun.name, SqlRun.status, SqlTag.value)
        .outerjoin(SqlTag, tagged)
        .where(SqlRun.experiment_id == int(experiment), SqlRun.lifecycle_stage == LifecycleStage.ACTIVE)
        .order_by(SqlRun.start_time, SqlRun.run_uuid)  # as MLflow orders what began at the same time
    )
    with store.ManagedSessionMaker() as session:
        for run in session.execute(query):
            yield ListedRun(*run)


def _on_server(client: MlflowClient, experiment: str, tag: str) -> Iterator[ListedRun]:
    token: str | None = None
    while True:
        runs = client.search_runs(
            [experiment], max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
        )
        for run in runs:
            yield ListedRun(run.info.run_id, run.info.run_name, run.info.status, run.data.tags.get(tag))
        token = runs.token
        if not token:
            return
