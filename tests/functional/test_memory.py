"""Real sweeps whose workers get little memory, or whose trials all fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from sweeper.paths import Workspace
from sweeper.results import TrialRow, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.training.micro_batch import recall_limits
from tests.functional.program import environment, ranks_of, sweeper, workers_of

pytestmark = pytest.mark.sweeps

SPACE = """
study: tight
dataset: {{builtin: digits, limit: {{train_images: {images}, val_images: 64}}}}
budget: {{trials: {trials}, epochs: {epochs}, max_consecutive_failures: 2}}
pruner: none
device: cpu
devices_per_trial: {devices}
search: {{backbone: test_resnet, image_size: {size}, batch_size: {batch_size}, optimizer: {{name: sgd, lr: {lr}}}}}
"""


def write_space(folder: Path, devices: int = 1, epochs: int = 2, **values: float) -> None:
    (folder / "space.yaml").write_text(SPACE.format(devices=devices, epochs=epochs, **values))


def rows(folder: Path) -> list[TrialRow]:
    return StudyStore.load(f"sqlite:///{folder / 'optuna.db'}", "tight").rows()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def micro_batch_sizes(folder: Path) -> list[float]:
    """Return what MLflow has of the first trial, by epoch."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    of_study = client.get_experiment_by_name("tight")
    assert of_study is not None
    (run,) = client.search_runs([of_study.experiment_id], "tags.mlflow.runName = 'trial-0000'")
    history = client.get_metric_history(run.info.run_id, "micro_batch_size")
    return [found.value for found in sorted(history, key=lambda found: found.step)]


def cap(processes: list[psutil.Process], headroom_mb: int) -> None:
    """Cap the address space of processes that train at this much above what they hold between their steps."""
    held = [min(_address_space(process) for _ in range(200)) for process in processes]
    for process, least in zip(processes, held, strict=True):
        limit = least + headroom_mb * 2**20
        process.rlimit(psutil.RLIMIT_AS, (limit, limit))


def _address_space(process: psutil.Process) -> int:
    time.sleep(0.005)
    found: int = process.memory_info().vms
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux caps the address space of another process")
@pytest.mark.parametrize("devices", [1, 2])
def test_a_sweep_whose_workers_are_refused_memory_completes_in_micro_batches(tmp_path: Path, devices: int) -> None:
    many = 256 * devices
    write_space(tmp_path, devices, epochs=8, trials=2, lr=0.01, size=64, batch_size=many, images=2 * many)
    log = tmp_path / "output"
    with log.open("w") as output:
        command = [sys.executable, "-m", "sweeper", "run", "space.yaml"]
        variables = {**environment(), "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back at once
        driver = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=output, stderr=output)
        wait_until(lambda: "epoch 1/" in log.read_text())
        cap([*workers_of(driver.pid), *ranks_of(driver.pid)], headroom_mb=100)
        assert driver.wait(600) == 0, log.read_text()
    found = rows(tmp_path)
    assert [row.state for row in found] == [TrialState.COMPLETE] * 2, log.read_text()
    sizes = micro_batch_sizes(tmp_path)
    assert sizes[0] == 256 > sizes[-1]
    if devices > 1:
        return  # what fits beside another device's process on the same device is kept for no later trial
    (remembered,) = (tmp_path / ".sweeper" / "micro-batches").glob("*.json")
    assert remembered.name == "test_resnet-64px-all-cpu.json"
    assert (recall_limits(remembered).training or 256) < 256


@dataclass(frozen=True)
class ControlGroup:
    """A control group of the kernel with a limit of memory, version 1 or 2."""

    path: Path

    @property
    def version_1(self) -> bool:
        return (self.path / "memory.limit_in_bytes").exists()

    def enter(self) -> None:
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, size: int) -> None:
        (self.path / ("memory.limit_in_bytes" if self.version_1 else "memory.max")).write_text(str(size))

    @property
    def processes(self) -> list[str]:
        return (self.path / "cgroup.procs").read_text().split()

    @property
    def kills(self) -> int:
        text = (self.path / ("memory.oom_control" if self.version_1 else "memory.events")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])


@pytest.fixture
def control_group() -> Iterator[ControlGroup]:
    """A group of our own; what ran in it has ended when it is removed."""
    root = Path("/sys/fs/cgroup/memory")
    path = (root if root.exists() else root.parent) / f"sweeper-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError:
        pytest.skip("only root can limit memory by a control group")
    group = ControlGroup(path)
    try:
        if not group.version_1 and not (path / "memory.max").exists():
            pytest.skip("the kernel offers no control of memory here")
        yield group
    finally:
        deadline = time.monotonic() + 60
        while group.processes and time.monotonic() < deadline:  # what a driver leaves ends right after it
            time.sleep(0.05)
        path.rmdir()


@pytest.mark.slow
def test_a_worker_that_the_kernel_kills_for_memory_goes_on_in_smaller_parts(
    tmp_path: Path, control_group: ControlGroup
) -> None:
    write_space(tmp_path, trials=2, lr=0.01, size=128, batch_size=512, images=512)
    log = tmp_path / "output"
    with log.open("w") as output:
        command = [sys.executable, "-m", "sweeper", "run", "space.yaml"]
        driver = subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=output, stderr=output, preexec_fn=control_group.enter
        )
        wait_until(Workspace(tmp_path).study("tight").trial(0).spec.exists)
        # The whole batch takes 2.8 GB in the worker, half of it 1.8 GB.
        control_group.limit(psutil.Process(driver.pid).memory_info().rss + 2100 * 2**20)
        assert driver.wait(600) == 0, log.read_text()
    assert control_group.kills >= 1
    assert [row.state for row in rows(tmp_path)] == [TrialState.COMPLETE] * 2, log.read_text()
    assert "killed by SIGKILL, most likely by the kernel because memory ran out" in log.read_text()
    (remembered,) = (tmp_path / ".sweeper" / "micro-batches").glob("*.json")
    assert (recall_limits(remembered).training or 512) < 512


def test_a_sweep_whose_trials_all_explode_stops_and_says_why_without_a_score(tmp_path: Path) -> None:
    write_space(tmp_path, trials=6, lr=1e3, size=8, batch_size=64, images=256)
    done = sweeper("run", "space.yaml", folder=tmp_path)
    assert "stopped: 2 trials in a row failed for the same reason: " in done.stdout
    assert [(row.state, row.value) for row in rows(tmp_path)] == [(TrialState.FAILED, None)] * 2
