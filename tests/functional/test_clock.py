"""A clock that is set while a sweep runs, and processes that are stopped: each trial once, the same best."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import mlflow
import pytest

from benchmarks.large_study import large_sweep
from sweeper.search.lease import LEASE_S
from sweeper.search.study_store import StudyStore
from tests.functional.answer import Ask, ask
from tests.functional.chaos import PATIENCE_S, STUDY, Sandbox, check, end_group
from tests.functional.program import workers_of

__all__ = ["ask"]  # a fixture

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
SPACE = {"budget": {"trials": 5, "epochs": 3}, "pruner": "none"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    sandbox = Sandbox.make(tmp_path_factory.mktemp("plain"), **SPACE)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox.make(tmp_path, **SPACE)


class Clock:
    """The clock that a sandbox's processes see; what is set once is not seen in files or by stopwatches."""

    def __init__(self, sandbox: Sandbox):
        self._file = sandbox.root / "clock"
        self.set("+0")
        sandbox.environment.update(
            LD_PRELOAD=str(LIBRARY),
            FAKETIME_TIMESTAMP_FILE=str(self._file),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            NO_FAKE_STAT="1",
        )

    def set(self, offset: str) -> None:
        beside = self._file.with_suffix(".new")
        beside.write_text(offset + "\n")
        beside.replace(self._file)


@pytest.fixture
def clock(sandbox: Sandbox) -> Clock:
    if LIBRARY is None:
        pytest.skip("libfaketime is not installed: `make faketime`")
    return Clock(sandbox)


def wait_for(sandbox: Sandbox, process: subprocess.Popen[bytes], text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while text not in sandbox.said():
        assert process.poll() is None, sandbox.said()
        assert time.monotonic() < deadline, sandbox.said()
        time.sleep(0.01)


def require_same(sandbox: Sandbox, plain: Sandbox) -> None:
    check(sandbox, plain, {})
    assert "Traceback" not in sandbox.said()
    assert sorted(trials_of_the_study(sandbox)) == sorted(trials_of_the_study(plain)) == list(range(5))


def trials_of_the_study(sandbox: Sandbox) -> list[float]:
    """Return what the parent run has of each trial."""
    client = mlflow.MlflowClient(sandbox.tracking_uri)
    found = client.get_experiment_by_name(STUDY)
    assert found is not None
    (parent,) = client.search_runs([found.experiment_id], f"attributes.run_name = '{STUDY}'")
    return [point.value for point in client.get_metric_history(parent.info.run_id, "trial/number")]


@pytest.mark.slow
@pytest.mark.parametrize("offsets", [("-1h", "+0"), ("+1h", "-1h")], ids=["back and forth", "forth and back"])
def test_a_clock_set_in_the_middle_of_a_sweep_changes_nothing(
    offsets: tuple[str, str], sandbox: Sandbox, clock: Clock, plain: Sandbox
) -> None:
    process = sandbox.start()
    try:
        for trial, offset in zip((1, 3), offsets, strict=True):
            wait_for(sandbox, process, f"trial {trial} epoch 2/")
            clock.set(offset)
        assert process.wait(PATIENCE_S) == 0, sandbox.said()
    finally:
        end_group(process)
    require_same(sandbox, plain)


@pytest.mark.slow
@pytest.mark.parametrize("offset", ["-1h", "+1h"])
def test_a_clock_set_between_two_runs_changes_nothing(
    offset: str, sandbox: Sandbox, clock: Clock, plain: Sandbox
) -> None:
    process = sandbox.start()
    try:
        wait_for(sandbox, process, "trial 2 epoch 1/")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130, sandbox.said()
    finally:
        end_group(process)
    clock.set(offset)
    assert sandbox.run() == 0, sandbox.said()
    require_same(sandbox, plain)


@pytest.mark.slow
def test_a_driver_stopped_for_longer_than_its_lease_goes_on(sandbox: Sandbox, plain: Sandbox) -> None:
    process = sandbox.start()
    try:
        wait_for(sandbox, process, "trial 1 epoch 1/")
        process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_S + 5)
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE_S) == 0, sandbox.said()
    finally:
        end_group(process)
    require_same(sandbox, plain)


@pytest.mark.slow
def test_a_sweep_stopped_whole_gives_up_no_worker_when_it_goes_on(sandbox: Sandbox, plain: Sandbox) -> None:
    sandbox.options = ("--set", "budget.stuck_after=8s")
    process = sandbox.start()
    try:
        wait_for(sandbox, process, "trial 1 epoch 1/")
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(15)
        os.killpg(process.pid, signal.SIGCONT)
        assert process.wait(PATIENCE_S) == 0, sandbox.said()
    finally:
        end_group(process)
    assert "no epoch came from its worker" not in sandbox.said()
    require_same(sandbox, plain)


@pytest.mark.slow
def test_a_worker_stopped_for_a_while_goes_on(sandbox: Sandbox, plain: Sandbox) -> None:
    process = sandbox.start()
    try:
        wait_for(sandbox, process, "trial 1 epoch 1/")
        workers = workers_of(process.pid)
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        time.sleep(10)
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE_S) == 0, sandbox.said()
    finally:
        end_group(process)
    require_same(sandbox, plain)


def test_status_shows_no_negative_time_of_a_trial_that_began_before_the_clock_was_set_back(
    ask: Ask, tmp_path: Path
) -> None:
    store = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", large_sweep(2, 3))
    assert len(store.next_group(1)) == 1
    store.close()
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        database.execute("UPDATE trials SET datetime_start = datetime(datetime_start, '+1 hour')")
    answer = ask("status", "large")
    assert answer.code == 0, answer.err
    (line,) = [line for line in answer.out.splitlines() if "running" in line]
    assert " 0.0s" in line
    assert "-" not in line.split("running")[1].replace(" - ", " ")
