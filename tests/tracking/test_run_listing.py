"""Runs and curves read many at once: from a server page by page what its database gives at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest

from sweeper.config.sweep import ObjectiveConfig
from sweeper.paths import Workspace
from sweeper.tracking import run_listing, trial_runs
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.study_records import Recorded, StudyRecords
from sweeper.tracking.tags import SWEEP, TRIAL_TAG
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


def test_a_server_that_names_its_pages_in_another_way_is_asked_for_one_after_the_other(
    store: MlflowStore, runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_listing, "PAGE", 1)
    monkeypatch.setattr(run_listing, "_token", lambda offset: f"page {offset}")
    assert [run.id for run in StudyRecords(store, Recorded("s")).listing("trial")] == runs


TRIALS = {0: 0.5, 1: 0.9, 2: 0.1, 3: None, 5: 0.7}
"""What each trial has reached; trial 3 nothing, and trial 4 has no run."""


@pytest.fixture(scope="module")
def trials(server: MlflowServer) -> dict[int, str]:
    """The run of each trial; the parent run and an earlier run of trial 1 are there too."""
    store = MlflowStore(server.uri, Workspace(server.root))
    experiment = StudyRecords(store, Recorded("t")).begin()
    store.create_run(experiment, "t", {TRIAL_TAG: SWEEP}, start_ms=1)
    store.create_run(experiment, "trial-1", {TRIAL_TAG: "1"}, start_ms=2)
    made = {}
    for number, reached in TRIALS.items():
        made[number] = store.create_run(experiment, f"trial-{number}", {TRIAL_TAG: str(number)}, start_ms=1000 + number)
        if reached is not None:
            store.log_metrics(made[number], {"best/val/accuracy": reached}, 1, 2000)
    return made


@pytest.mark.parametrize("few", [0, 20])
@pytest.mark.parametrize("most", [2, 1000])
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_runs_of_some_trials_are_found_whatever_they_have_reached(
    store: MlflowStore, trials: dict[int, str], monkeypatch: pytest.MonkeyPatch, few: int, most: int, direction: str
) -> None:
    monkeypatch.setattr(trial_runs, "FEW", few)
    monkeypatch.setattr(trial_runs, "RUNS_AT_ONCE", 2)
    monkeypatch.setattr(trial_runs, "MOST_AT_ONCE", most)
    objective = ObjectiveConfig.model_validate({"metric": "val/accuracy", "direction": direction})
    found = StudyRecords(store, Recorded("t")).of_trials([3, 1, 0, 99], objective)
    assert {number: run.id for number, run in found.items()} == {number: trials[number] for number in (3, 1, 0)}
    assert found[0].metrics == {"best/val/accuracy": 0.5}


def test_a_server_is_asked_for_as_many_of_the_best_runs_as_there_are_trials_and_for_those_that_lack(
    server: MlflowServer, trials: dict[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    search = mlflow.MlflowClient.search_runs

    def counted(*args: Any, **options: Any) -> Any:
        runs = search(*args, **options)
        given.append(len(runs))
        return runs

    monkeypatch.setattr(mlflow.MlflowClient, "search_runs", counted)
    monkeypatch.setattr(trial_runs, "FEW", 2)
    records = StudyRecords(MlflowStore(server.uri, Workspace(server.root)), Recorded("t"))
    assert set(records.of_trials([1, 5, 3], ObjectiveConfig())) == {1, 5, 3}
    assert given == [3, 1], "the best three, and the one that is not among them"
    given.clear()
    assert set(records.of_trials([2], ObjectiveConfig())) == {2}
    assert given == [1]


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
