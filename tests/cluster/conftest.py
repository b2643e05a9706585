"""A real Ray cluster of several nodes on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeper.engines.worker import PROCESS_NAME
from tests.functional.chaos import Sandbox

FAST = {
    "health_check_initial_delay_ms": 2000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
"""So that Ray notices a dead node within seconds."""

PATIENCE_S = 9
ACTOR = "ray::RemoteSlot"
PAUSE_S = 0.05
SOON_S = 120.0


class Machines:
    """The cluster: a head without room for trials, and nodes that tests add and take away."""

    def __init__(self, cluster: Any):
        self._cluster = cluster
        self.nodes: list[Any] = []

    @property
    def address(self) -> str:
        found: str = self._cluster.address
        return found

    @property
    def head(self) -> Any:
        return self._cluster.head_node

    def add(self, slots: int = 1, **resources: Any) -> Any:
        node = self._cluster.add_node(num_cpus=slots, object_store_memory=100_000_000, **resources)
        self.nodes.append(node)
        return node

    def remove(self, node: Any) -> None:
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def raylet(self, node: Any) -> psutil.Process:
        (started,) = node.all_processes["raylet"]
        return psutil.Process(started.process.pid)

    def kill_raylet(self, node: Any) -> None:
        """Kill a node's raylet as a machine that loses power does: nothing is tidied up."""
        (started,) = node.all_processes["raylet"]
        os.kill(started.process.pid, signal.SIGKILL)
        started.process.wait()
        self.remove(node)


OURS = ("SWEEPER_TEST_OF", uuid.uuid4().hex)
"""In the environment of every process that is started here; no other is ever looked at."""

GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""By which glibc gives back at once what is freed, so that a process can be capped at what it holds between steps, and
lets no new thread reserve addresses."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    os.environ.update([OURS, *GIVE_BACK.items()])
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: make chaos-cluster does it")
    head = {"num_cpus": 0, "_system_config": FAST, "include_dashboard": False, "object_store_memory": 100_000_000}
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    yield made
    made.shutdown()


@pytest.fixture
def machines(cluster: Any) -> Iterator[Machines]:
    machines = Machines(cluster)
    yield machines
    for node in list(machines.nodes):
        machines.remove(node)
    for process in [*actors(), *workers()]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture
def node_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sweeper-nodes-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def sandbox_on(machines: Machines, root: Path, node_folder: Path, *options: str, **changes: Any) -> Sandbox:
    """Return a folder whose study runs on a cluster."""
    engine = {"name": "ray", "node_folder": str(node_folder), "patience": PATIENCE_S}
    sandbox = Sandbox.make(root, **{"engine": engine, **changes})
    sandbox.options = ("--ray-address", machines.address, *options)
    return sandbox


def named(name: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            called = process.name() == name[:15] or name in " ".join(process.cmdline()[:1])
            if called and process.environ().get(OURS[0]) == OURS[1]:
                found.append(process)
    return found


def workers() -> list[psutil.Process]:
    return named(PROCESS_NAME.decode())


def actors() -> list[psutil.Process]:
    return named(ACTOR)


def await_that(holds: Callable[[], bool], sandbox: Sandbox | None = None, within_s: float = SOON_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, sandbox.said() if sandbox else "it did not become true"
        time.sleep(PAUSE_S)
