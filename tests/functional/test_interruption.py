"""One driver at a time, and Ctrl-C: the real program in real processes."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import psutil
import pytest

from sweeper.results import TrialState
from tests.functional.chaos import PATIENCE_S, STUDY, Sandbox, end_group, recorded, require_tidy
from tests.functional.program import workers_of

pytestmark = pytest.mark.sweeps


@pytest.fixture
def sandbox(tmp_path: Path, created: Path) -> Sandbox:
    shutil.copy(created, tmp_path / created.name)
    sandbox = Sandbox.make(tmp_path, budget={"trials": 1, "epochs": 30}, pruner="none")
    sandbox.options = ("--set", "seed=3")
    return sandbox


@pytest.fixture
def started(sandbox: Sandbox) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep whose first trial has finished an epoch."""
    process = sandbox.start()
    wait_until_said(sandbox, process, "trial 0 epoch 1/")
    yield process
    end_group(process)


def wait_until_said(sandbox: Sandbox, process: subprocess.Popen[bytes], text: str, times: int = 1) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while sandbox.said().count(text) < times:
        assert process.poll() is None, sandbox.said()
        assert time.monotonic() < deadline, sandbox.said()
        time.sleep(0.02)


def test_ctrl_c_and_a_dead_owner_leave_a_study_that_the_same_command_continues(
    sandbox: Sandbox, started: subprocess.Popen[bytes]
) -> None:
    # A second driver is refused as long as the first one lives, however little it does.
    os.kill(started.pid, signal.SIGSTOP)
    assert sandbox.run() == 4
    assert f"the study {STUDY} is being run by process {started.pid} on" in sandbox.said()
    assert sandbox.run("sync", STUDY) == 4

    # Its lock does not matter once it is dead, and its workers die with it.
    workers = workers_of(started.pid)
    started.kill()
    started.wait()
    assert sandbox.workspace.study(STUDY).lock.exists()
    seen = sandbox.epochs_on_disk()
    again = sandbox.start()
    try:
        wait_until_said(sandbox, again, "trial 0 epoch 1/", times=2)
        assert psutil.wait_procs(workers, PATIENCE_S)[1] == []

        # Ctrl-C goes to the whole terminal; everything is closed and the next step is named.
        os.killpg(again.pid, signal.SIGINT)
        assert again.wait(PATIENCE_S) == 130
    finally:
        end_group(again)
    same = shlex.join(["sweeper", *sandbox.command()[3:]])  # with all its overrides, which may name the study
    assert "--set" in same
    assert f"interrupted; run the same command again to continue: {same}" in sandbox.said()
    assert "Traceback" not in sandbox.said()
    assert {row.state for row in sandbox.rows()} == {TrialState.WAITING}
    client = mlflow.MlflowClient(sandbox.tracking_uri)
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert {run.info.status for run in runs} == {"KILLED"}

    # And the same command ends it.
    seen.update(sandbox.epochs_on_disk())
    assert sandbox.run() == 0, sandbox.said()
    assert "disk: .sweeper holds" in sandbox.said()
    points = recorded(sandbox)["trial-0000"]["train/loss"]
    assert [step for step, _, _ in points] == list(range(1, 31))
    assert {(0, step): ms for step, _, ms in points if (0, step) in seen} == seen
    require_tidy(sandbox)


def test_sigterm_to_all_processes_of_a_job_leaves_with_75_and_the_same_command_goes_on(
    sandbox: Sandbox, started: subprocess.Popen[bytes]
) -> None:
    begun = time.monotonic()
    while started.poll() is None:  # schedulers repeat it
        os.killpg(started.pid, signal.SIGTERM)
        time.sleep(0.02)
    assert started.wait(PATIENCE_S) == 75, sandbox.said()
    assert time.monotonic() - begun < 60  # workers are killed, and MLflow has five seconds
    same = shlex.join(["sweeper", *sandbox.command()[3:]])
    assert f"stopped by SIGTERM; run the same command again to continue: {same}" in sandbox.said()
    assert "was killed" not in sandbox.said()
    assert "Traceback" not in sandbox.said()
    assert {row.state for row in sandbox.rows()} == {TrialState.WAITING}
    seen = sandbox.epochs_on_disk()
    assert sandbox.run() == 0, sandbox.said()
    points = recorded(sandbox)["trial-0000"]["train/loss"]
    assert [step for step, _, _ in points] == list(range(1, 31))
    assert {(0, step): ms for step, _, ms in points if (0, step) in seen} == seen
    require_tidy(sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
def test_sigterm_during_start_up_leaves_with_75_too(sandbox: Sandbox, delay_s: float) -> None:
    process = sandbox.start()
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGTERM)
    ended = process.wait(PATIENCE_S)
    end_group(process)
    assert ended == 75 or (ended == -signal.SIGTERM and delay_s < 3), sandbox.said()  # not even imported
    assert "Traceback" not in sandbox.said()
    if ended == 75:
        assert "stopped by SIGTERM; run the same command again to continue" in sandbox.said()


def test_ctrl_c_while_runs_are_sent_leaves_them_on_disk_and_says_so(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes a connection and never answers
        sandbox.environment = {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "300",
        }
        sandbox.options = ("--set", "budget.epochs=1")
        process = sandbox.start()
        try:
            wait_until_said(sandbox, process, "sending to MLflow: 2 runs left")
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130, sandbox.said()
        finally:
            end_group(process)
    assert f"2 runs are not in MLflow yet: sweeper sync {STUDY}" in sandbox.said()
    assert "Traceback" not in sandbox.said()
    assert {row.state for row in sandbox.rows()} == {TrialState.COMPLETE}

    sandbox.environment = {}
    assert sandbox.run("sync", STUDY, "--tracking-uri", sandbox.tracking_uri) == 0, sandbox.said()
    require_tidy(sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.2, 1.0, 2.0, 3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0])
def test_ctrl_c_during_start_up_ends_without_a_traceback(sandbox: Sandbox, delay_s: float) -> None:
    process = sandbox.start()
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGINT)
    # Killed by SIGINT is 130 to a shell too: so Python ends where Ctrl-C met an `exec` of text, as dataclasses do.
    ended = process.wait(PATIENCE_S)
    assert ended in (130, -signal.SIGINT) or delay_s < 1, sandbox.said()  # Python itself may not have started
    end_group(process)
    assert delay_s < 1 or "Traceback" not in sandbox.said()
