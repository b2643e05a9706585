"""Runs and curves read many at once: from a server page by page what its database gives at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from sweeper.paths import Workspace
from sweeper.tracking import run_listing
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.study_records import Recorded, StudyRecords
from tests.tracking.server import MlflowServer, mlflow_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def runs(server: MlflowServer) -> list[str]:
    """Five runs; the fourth has no trial's number; a sixth is deleted."""
    store = MlflowStore(server.uri, Workspace(server.root))
    experiment = StudyRecords(store, Recorded("s")).begin()
    made = []
    for number in range(6):
        tags = {"trial": str(number)} if number != 3 else {}
        made.append(store.create_run(experiment, f"trial-{number}", tags, start_ms=1000 + number))
        for step in (2, 1):
            store.log_metrics(made[-1], {"loss": number + step, "other": 0.0}, step, 1000 + step)
    store.log_metrics(made[0], {"loss": math.nan}, 3, 1003)
    store.log_metrics(made[1], {"loss": 7.0}, 1, 2000)
    store.delete_run(made.pop())
    return made


@pytest.fixture(params=["server", "database"])
def store(request: pytest.FixtureRequest, server: MlflowServer) -> MlflowStore:
    uri = server.uri if request.param == "server" else f"sqlite:///{server.root / 'server.db'}"
    return MlflowStore(uri, Workspace(server.root))


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_all_runs_are_listed_with_their_tag_oldest_first(
    store: MlflowStore, runs: list[str], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(run_listing, "PAGE", page)
    found = StudyRecords(store, Recorded("s")).listing("trial")
    assert [(run.id, run.tags.get("trial")) for run in found] == list(
        zip(runs, ["0", "1", "2", None, "4"], strict=True)
    )
    assert {run.status for run in found} == {"RUNNING"}
    assert [run.name for run in found] == [f"trial-{number}" for number in range(5)]


def test_no_run_is_listed_where_there_is_no_experiment(store: MlflowStore) -> None:
    assert StudyRecords(store, Recorded("none")).listing("trial") == []


@pytest.mark.parametrize("at_once", [1, 100])
def test_runs_are_read_by_their_ids(
    store: MlflowStore, runs: list[str], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("sweeper.tracking.study_records.RUNS_AT_ONCE", at_once)
    found = {run.id: run.metrics["other"] for run in StudyRecords(store, Recorded("s")).summaries(runs[1:4])}
    assert found == dict.fromkeys(runs[1:4], 0.0)


def test_curves_are_in_the_order_of_steps_and_the_later_of_two_values_counts(
    store: MlflowStore, runs: list[str]
) -> None:
    found = store.curves(runs[:3], ["loss", "none"])
    assert list(found[runs[2]].items()) == [("loss", {1: 3.0, 2: 4.0})]
    assert list(found[runs[2]]["loss"]) == [1, 2]
    assert found[runs[1]] == {"loss": {1: 7.0, 2: 3.0}}
    assert math.isnan(found[runs[0]]["loss"][3])


def test_the_time_of_the_latest_metric_is_reported(store: MlflowStore, runs: list[str]) -> None:
    assert store.last_ms(runs[0]) == 1003
