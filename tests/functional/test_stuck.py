"""A worker that is stopped from outside: reported, and replaced where the search space sets a limit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.functional.program import environment, workers_of

SPACE = """
study: s
dataset: {builtin: digits}
budget: {trials: 2, epochs: 6, stuck_after: 6s}
pruner: none
search: {backbone: test_resnet, image_size: 16, batch_size: 64}
"""
PATIENCE_S = 120.0


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.mark.slow
def test_a_stopped_worker_is_ended_after_the_limit_and_its_trial_goes_on(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "sweeper", "run", "space.yaml", "--no-report"]
    with log.open("wb") as output:
        driver = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=output, stderr=output)
        wait_for(log, "trial 0 epoch 2/6")
        (worker,) = workers_of(driver.pid)
        worker.send_signal(signal.SIGSTOP)
        wait_for(log, "trial 0: no epoch came from its worker for 6 s")
        assert driver.wait(PATIENCE_S) == 0
    lines = log.read_text()
    assert "study s: 2 complete" in lines
    assert lines.count("trial 0 epoch 6/6") == 1
    assert not psutil.pid_exists(worker.pid)
