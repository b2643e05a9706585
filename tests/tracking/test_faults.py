"""A tracking server that fails in every way: nothing lost, nothing twice, and nobody waits for it.

The server is a real one; a proxy before it does the failing.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import ViewType

from sweeper.errors import TrackingError
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialState
from sweeper.tracking import outbox as outbox_module
from sweeper.tracking import request_settings
from sweeper.tracking.delivery import Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.outbox import DeliveryPhase, Outbox
from sweeper.tracking.study_records import Recorded, StudyRecords
from tests.tracking.fault_proxy import FaultProxy, proxied
from tests.tracking.server import MlflowServer, mlflow_server
from tests.tracking.test_delivery import CARD, write_trial

PATIENCE_S = 180.0
TRIALS, EPOCHS = 3, 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[FaultProxy]:
    with proxied(server.port) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setattr(outbox_module, "FIRST_RETRY_S", 0.1)
    monkeypatch.setattr(outbox_module, "LAST_RETRY_S", 0.5)


@pytest.fixture
def study(tmp_path: Path, request: pytest.FixtureRequest) -> StudyFolder:
    """A study whose name, and so its experiment, is the test's own."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return Workspace(tmp_path).study(name)


def card_of(study: StudyFolder, uri: str) -> StudyCard:
    return StudyCard(study=study.path.name, tracking_uri=uri, start_ms=1, params={"seed": 0}, tags={}, dataset=CARD)


def outbox_of(study: StudyFolder, uri: str) -> Outbox:
    outbox = Outbox(Workspace(study.path.parents[2]), study, card_of(study, uri))
    outbox.start()
    return outbox


def run_trials(study: StudyFolder, outbox: Outbox, numbers: range, between: Callable[[], None] = lambda: None) -> None:
    """Do what workers and driver do: epoch after epoch on disk, each reported to the outbox."""
    for number in numbers:
        for epoch in range(1, EPOCHS + 1):
            write_trial(study.trial(number), epoch)
            outbox.notify(number, DeliveryPhase.RUNNING)
            between()
        write_trial(study.trial(number), EPOCHS, TrialState.COMPLETE)
        outbox.notify(number, DeliveryPhase.ENDED)


def sync(study: StudyFolder, uri: str) -> None:
    """Do what `sweeper sync` does."""
    delivery = Delivery(MlflowStore(uri, Workspace(study.path.parents[2])), study, card_of(study, uri))
    for trial in study.trials():
        delivery.deliver_trial(trial, ended=True, running=False)
    delivery.deliver_sweep("FINISHED")


def require_everything_once(uri: str, study: StudyFolder, trials: int = TRIALS) -> None:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.path.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    names = sorted(run.info.run_name for run in runs)
    assert names == sorted([study.path.name, *(f"trial-{number:04d}" for number in range(trials))])
    for run in runs:
        assert run.info.status == "FINISHED"
        if run.info.run_name != study.path.name:
            points = client.get_metric_history(run.info.run_id, "val/accuracy")
            assert [(point.step, point.value) for point in points] == [(1, 0.1), (2, 0.2), (3, 0.3)]
            assert len(client.list_artifacts(run.info.run_id, "weights")) == 1
            assert run.inputs is not None
            assert len(run.inputs.dataset_inputs) == 1
    assert study.trials() == []


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


slow = pytest.mark.slow


@slow
@pytest.mark.parametrize("fault", ["lost", "500", "refuse", "slow"])
def test_requests_that_fail_now_and_then_are_repeated_without_a_trace(
    server: MlflowServer, proxy: FaultProxy, study: StudyFolder, fault: str
) -> None:
    proxy.fault, proxy.share = fault, 0.2
    outbox = outbox_of(study, proxy.uri)
    run_trials(study, outbox, range(TRIALS))
    outbox.notify_sweep("FINISHED")
    wait_until(lambda: not study.trials())
    proxy.fault = None
    assert outbox.close(PATIENCE_S) == 0
    require_everything_once(server.uri, study)


@pytest.mark.parametrize("fault", ["500", *(pytest.param(fault, marks=slow) for fault in ("hang", "refuse"))])
def test_a_server_that_fails_from_the_start_gets_everything_once_it_is_back(
    server: MlflowServer, proxy: FaultProxy, study: StudyFolder, fault: str
) -> None:
    proxy.fault = fault
    outbox = outbox_of(study, proxy.uri)
    run_trials(study, outbox, range(TRIALS))
    outbox.notify_sweep("FINISHED")
    wait_until(lambda: outbox.trouble)
    assert len(study.trials()) == TRIALS
    proxy.fault = None
    wait_until(lambda: not study.trials())
    assert outbox.close(PATIENCE_S) == 0
    assert outbox.trouble is None
    require_everything_once(server.uri, study)


def test_a_server_that_takes_long_for_a_file_is_waited_for(
    server: MlflowServer, proxy: FaultProxy, study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(request_settings.TIMEOUT, "1")
    monkeypatch.setattr(request_settings, "REQUEST_S", "1")
    proxy.fault = "late files"
    outbox = outbox_of(study, proxy.uri)
    run_trials(study, outbox, range(1))
    wait_until(lambda: not study.trials() or outbox.trouble)
    assert outbox.trouble is None
    proxy.fault = None
    outbox.notify_sweep("FINISHED")
    assert outbox.close(PATIENCE_S) == 0
    require_everything_once(server.uri, study, trials=1)


def test_weights_that_a_page_to_log_in_took_are_sent_again(
    server: MlflowServer, proxy: FaultProxy, study: StudyFolder
) -> None:
    outbox = outbox_of(study, proxy.uri)
    wait_until(lambda: outbox._running)
    proxy.fault = "login"
    run_trials(study, outbox, range(1))
    wait_until(lambda: outbox.trouble)
    assert "perhaps a log-in page answered instead" in str(outbox.trouble)
    assert len(list(study.trial(0).weights.iterdir())) == 1
    proxy.fault = None
    wait_until(lambda: not study.trials())
    outbox.notify_sweep("FINISHED")
    assert outbox.close(PATIENCE_S) == 0
    require_everything_once(server.uri, study, trials=1)


def test_a_program_s_own_settings_of_mlflow_come_back(
    server: MlflowServer, study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(request_settings.TIMEOUT)
    for retries in (None, "3"):
        if retries:
            monkeypatch.setenv(request_settings.RETRIES, retries)
        store = MlflowStore(server.uri, Workspace(study.path.parents[2]))
        with store.client():
            assert os.environ[request_settings.RETRIES] == "0"
            with store.client(), request_settings.time_for_file(10_000_000):
                assert os.environ[request_settings.TIMEOUT] == "130"
                with request_settings.time_for_file(30_000_000):
                    assert os.environ[request_settings.TIMEOUT] == "150"
                assert os.environ[request_settings.TIMEOUT] == "130"
            assert os.environ[request_settings.TIMEOUT] == "20"
        assert os.environ.get(request_settings.RETRIES) == retries
        assert request_settings.TIMEOUT not in os.environ


def test_who_has_set_how_long_is_waited_is_told_what_to_set_where_it_is_too_short(
    proxy: FaultProxy, study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(request_settings.TIMEOUT, "1")
    proxy.fault = "late files"
    outbox = outbox_of(study, proxy.uri)
    run_trials(study, outbox, range(1))
    wait_until(lambda: outbox.trouble)
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT sets how many seconds to wait" in str(outbox.trouble)
    proxy.fault = None
    assert outbox.close(PATIENCE_S) == 0


def test_a_server_killed_in_the_middle_and_back_after_the_sweep_gets_the_rest_from_sync(
    server: MlflowServer, study: StudyFolder
) -> None:
    outbox = outbox_of(study, server.uri)
    run_trials(study, outbox, range(1))
    wait_until(lambda: not study.trials())
    server.kill()
    try:
        run_trials(study, outbox, range(1, TRIALS))
        outbox.notify_sweep("FINISHED")
        wait_until(lambda: outbox.trouble)
        assert outbox.close(PATIENCE_S) == TRIALS  # two trials and the parent run
        assert len(study.trials()) == 2
        with pytest.raises(TrackingError):
            sync(study, server.uri)
    finally:
        server.start()
    sync(study, server.uri)
    sync(study, server.uri)
    require_everything_once(server.uri, study)


def test_a_server_that_fails_while_the_last_runs_are_sent_is_tried_once_more(
    server: MlflowServer, proxy: FaultProxy, study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = outbox_of(study, proxy.uri)
    run_trials(study, outbox, range(TRIALS))
    wait_until(lambda: not study.trials())
    waits: list[bool] = []

    def fail_instead(_left: int) -> None:
        if proxy.fault == "hang":
            proxy.fault = "500"

    def come_back(_seconds: float, closing: bool) -> None:
        waits.append(closing)
        proxy.fault = None

    monkeypatch.setattr(outbox, "_back_off", come_back)
    monkeypatch.setattr(outbox_module, "LAST_TRY_S", PATIENCE_S)
    proxy.fault = "hang"
    outbox.notify_sweep("FINISHED")
    assert outbox.close(PATIENCE_S, tell=fail_instead) == 0
    assert waits == [True]
    assert outbox.trouble is None
    require_everything_once(server.uri, study)


@slow
def test_a_database_that_another_program_locks_gets_everything_once_it_is_free(
    workspace: Workspace, study: StudyFolder
) -> None:
    uri = f"sqlite:///{workspace.mlflow_database}"
    intruder = sqlite3.connect(workspace.mlflow_database, isolation_level=None)
    intruder.execute("BEGIN EXCLUSIVE")
    outbox = outbox_of(study, uri)
    run_trials(study, outbox, range(TRIALS))
    outbox.notify_sweep("FINISHED")
    wait_until(lambda: outbox.trouble)
    assert "database is locked" in (outbox.trouble or "")
    assert len(study.trials()) == TRIALS
    intruder.execute("ROLLBACK")
    wait_until(lambda: not study.trials())
    assert outbox.close(PATIENCE_S) == 0
    require_everything_once(uri, study)


def test_nothing_waits_for_a_server_that_never_answers(proxy: FaultProxy, study: StudyFolder) -> None:
    """All of a sweep's notices are given while the very first request hangs."""
    proxy.fault = "hang"
    outbox = outbox_of(study, proxy.uri)
    wait_until(lambda: proxy.requests)
    ended = threading.Event()

    def sweep() -> None:
        run_trials(study, outbox, range(50))
        outbox.notify_sweep("FINISHED")
        ended.set()

    threading.Thread(target=sweep, daemon=True).start()
    wait_until(ended.is_set)
    assert len(study.trials()) == 50
    assert proxy.fault == "hang"  # it has not answered anything meanwhile


def test_a_run_that_a_slow_server_creates_twice_is_kept_once(
    server: MlflowServer, proxy: FaultProxy, study: StudyFolder
) -> None:
    """A request we stopped waiting for may be carried out later: then there are two runs of one trial."""
    store = MlflowStore(proxy.uri, Workspace(study.path.parents[2]))
    write_trial(study.trial(0), EPOCHS, TrialState.COMPLETE)
    delivery = Delivery(store, study, card_of(study, proxy.uri))
    delivery.deliver_trial(study.trial(0), ended=False, running=True)
    tags = {"sweeper.study": study.path.name, "sweeper.trial": "0"}
    store.create_run(StudyRecords(store, Recorded(study.path.name)).begin(), "trial-0000", tags, 1)
    delivery.deliver_trial(study.trial(0), ended=True, running=False)
    delivery.deliver_sweep("FINISHED")
    require_everything_once(server.uri, study, trials=1)


def test_one_folder_that_cannot_be_read_does_not_hold_up_the_others(server: MlflowServer, study: StudyFolder) -> None:
    outbox = outbox_of(study, server.uri)
    write_trial(study.trial(0), EPOCHS, TrialState.COMPLETE)
    study.trial(0).history.write_text("not json")
    outbox.notify(0, DeliveryPhase.ENDED)
    run_trials(study, outbox, range(1, 3))
    outbox.notify_sweep("FINISHED")
    wait_until(lambda: [trial.number for trial in study.trials()] == [0])
    assert outbox.close(5) == 1
    assert "trial-0000" in (outbox.trouble or "")


def test_an_outbox_that_gave_up_changes_no_file_any_more(
    server: MlflowServer, proxy: FaultProxy, study: StudyFolder
) -> None:
    """The study is let go then, and `sweeper sync` may be delivering the same folders."""
    proxy.fault = "hang"
    outbox = outbox_of(study, proxy.uri)
    run_trials(study, outbox, range(TRIALS))
    outbox.notify_sweep("FINISHED")
    wait_until(lambda: proxy.requests)
    assert outbox.close(0.1) == TRIALS + 1
    sync(study, server.uri)
    write_trial(study.trial(0), EPOCHS, TrialState.COMPLETE)
    proxy.fault = None
    wait_until(lambda: not outbox._thread.is_alive())
    assert [trial.number for trial in study.trials()] == [0]
    assert not study.trial(0).run.exists()
    sync(study, server.uri)
    require_everything_once(server.uri, study)
