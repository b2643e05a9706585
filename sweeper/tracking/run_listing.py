"""All runs of an experiment, and of each only what distinguishes it from the others.

MLflow reads a run with all its metrics, parameters and tags, or not at all: a minute and 3 GB for 20,000 runs. Where
its tables can be reached they are asked for no more than is needed; a server is asked for pages, and what is not needed
is dropped at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE = 250  # runs that are asked for at once
AT_ONCE = 8  # requests to a server
PAGES_AT_ONCE = 4  # MLflow's own server has four processes that answer

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


Page = tuple[list[ListedRun], str | None]  # and what the next one is asked by


def has_tables(client: MlflowClient) -> bool:
    """Return whether the tables of a database can be asked, and not a server."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return isinstance(client._tracking_client.store, SqlAlchemyStore)


def list_runs(client: MlflowClient, experiment: str, tags: Sequence[str]) -> list[ListedRun]:
    """Return all runs of an experiment that are not deleted, oldest first."""
    found = _in_database if has_tables(client) else _on_server
    return list(found(client, experiment, tags))


def read_curves(client: MlflowClient, runs: Sequence[str], metrics: Sequence[str]) -> dict[str, dict[str, Curve]]:
    """Return each of these metrics that a run has, by run, name and step, in order."""
    found = _points_in_database if has_tables(client) else _points_on_server
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
    """Ask page by page; the pages after the first at once where a server counts them as MLflow's own does."""

    def ask(token: str | None) -> Page:
        runs = client.search_runs(
            [experiment], max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
        )
        return [_listed(run, tags) for run in runs], runs.token or None

    page, token = ask(None)
    yield from page
    offset = PAGE
    with ThreadPoolExecutor(PAGES_AT_ONCE, thread_name_prefix="pages") as threads:
        while token:
            counted = token == _token(offset)
            tokens = [_token(offset + more * PAGE) for more in range(PAGES_AT_ONCE)] if counted else [token]
            pages = list(threads.map(ask, tokens))
            yield from (run for page, _ in pages for run in page)
            offset, token = offset + len(pages) * PAGE, pages[-1][1]


def _token(offset: int) -> str:
    """Return how MLflow's own server names the page that begins there."""
    from mlflow.utils.search_utils import SearchUtils

    token: bytes = SearchUtils.create_page_token(offset)
    return token.decode()


def _listed(run: Run, tags: Sequence[str]) -> ListedRun:
    info, known = run.info, run.data.tags
    found = {tag: known[tag] for tag in tags if tag in known}
    return ListedRun(info.run_id, info.run_name, info.status, info.artifact_uri, found)


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
