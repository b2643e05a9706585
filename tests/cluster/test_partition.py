"""A node that traffic no longer reaches: packets are dropped, nothing is refused, and both sides live on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeper.engines.rank import PROCESS_NAME
from tests.cluster.conftest import FAST, OURS, PATIENCE_S, await_that, named, workers
from tests.functional.chaos import Sandbox, check, end_group

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces"),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("iptables")), reason="ip or iptables is not installed"),
]

SPACE, OUTER, INNER = "sweeper-node", "sweeper-outer", "sweeper-inner"
HERE, THERE = "10.77.3.1", "10.77.3.2"
PORT = 20311
ENVIRONMENT = dict([OURS, ("RAY_AUTH_MODE", "disabled")])
"""Of all that is started here."""
LONG = {"budget": {"trials": 3, "epochs": 60}, "sampler": "random", "pruner": "none"}


def does(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120, env={**os.environ, **ENVIRONMENT})


def end_ray() -> None:
    """End what was started here, and no other cluster of this machine."""
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if ENVIRONMENT.items() <= process.environ().items():
                process.kill()


def in_space(name: str) -> list[str]:
    """Return what precedes a command that runs in a network space."""
    return ["ip", "netns", "exec", name]


def ray_start(*options: str, inside: str | None = None) -> None:
    program = [str(Path(sys.executable).parent / "ray"), "start", *options]
    does(*(in_space(inside) if inside else []), *program)


def start_head(address: str, port: int) -> None:
    """Start a cluster whose first node has no room for trials."""
    ray_start(
        "--head",
        "--include-dashboard=false",
        f"--port={port}",
        f"--node-ip-address={address}",
        "--num-cpus=0",
        f"--system-config={json.dumps(FAST)}",
    )


@pytest.fixture
def divided() -> Iterator[None]:
    """A cluster whose one node with room is behind a network of its own."""
    pytest.importorskip("ray", reason="Ray is not installed: make chaos-cluster does it")
    does("ip", "netns", "add", SPACE)
    does("ip", "link", "add", OUTER, "type", "veth", "peer", "name", INNER, "netns", SPACE)
    does("ip", "addr", "add", f"{HERE}/24", "dev", OUTER)
    does("ip", "link", "set", OUTER, "up")
    for command in (f"addr add {THERE}/24 dev {INNER}", f"link set {INNER} up", "link set lo up"):
        does("ip", "-n", SPACE, *command.split())
    try:
        start_head(HERE, PORT)
        ray_start(f"--address={HERE}:{PORT}", f"--node-ip-address={THERE}", "--num-cpus=1", inside=SPACE)
        yield
    finally:
        heal()
        end_ray()
        subprocess.run(["ip", "netns", "del", SPACE], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", OUTER], capture_output=True, check=False)


def cut() -> None:
    does("iptables", "-I", "INPUT", "-i", OUTER, "-j", "DROP")
    does("iptables", "-I", "OUTPUT", "-o", OUTER, "-j", "DROP")


def heal() -> None:
    for chain, side in (("INPUT", "-i"), ("OUTPUT", "-o")):
        while not subprocess.run(["iptables", "-D", chain, side, OUTER, "-j", "DROP"], capture_output=True).returncode:
            pass


def join_here() -> None:
    """Let a node with room for one device join the cluster, on this side of the network."""
    ray_start(f"--address={HERE}:{PORT}", f"--node-ip-address={HERE}", "--num-cpus=1")


def sandbox_on(root: Path, node_folder: Path, *, head: str = HERE, port: int = PORT, **changes: Any) -> Sandbox:
    engine = {"name": "ray", "node_folder": str(node_folder), "patience": PATIENCE_S, "address": f"{head}:{port}"}
    sandbox = Sandbox.make(root, **{**LONG, **changes, "engine": {**engine, **changes.get("engine", {})}})
    sandbox.environment = {"RAY_NODE_IP_ADDRESS": head, **ENVIRONMENT}
    return sandbox


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_node_behind_a_cut_ends_its_worker_itself_and_its_trial_goes_on_elsewhere(
    divided: None, tmp_path: Path, node_folder: Path
) -> None:
    whole = Sandbox.make(tmp_path / "whole", **LONG)
    assert whole.run() == 0, whole.said()
    sandbox = sandbox_on(tmp_path / "cut", node_folder)
    process = sandbox.start()
    try:
        await_that(lambda: sandbox.said().count(" epoch ") >= 3, sandbox)
        (old,) = workers()
        seen = sandbox.epochs_on_disk()
        cut()
        join_here()
        await_that(lambda: gone(old), sandbox, PATIENCE_S)
        await_that(lambda: sandbox.said().count("trial 0 started") == 2, sandbox)
        heal()
        assert process.wait(240) == 0, sandbox.said()
    finally:
        end_group(process)
    check(sandbox, whole, seen)


def test_a_trial_on_both_sides_of_a_cut_ends_on_both_and_goes_on_on_one(
    divided: None, tmp_path: Path, node_folder: Path
) -> None:
    """The two nodes have networks of their own: gradients and calls go from one address to the other."""
    many: dict[str, Any] = {"devices_per_trial": 2}
    whole = Sandbox.make(tmp_path / "whole", **LONG, **many)
    assert whole.run() == 0, whole.said()
    join_here()
    sandbox = sandbox_on(tmp_path / "cut", node_folder, **many, engine={"cpus_per_trial": 2})
    process = sandbox.start()
    try:
        await_that(lambda: sandbox.said().count(" epoch ") >= 3, sandbox)
        trained = [*workers(), *named(PROCESS_NAME.decode())]
        assert len(trained) == 2
        seen = sandbox.epochs_on_disk()
        cut()
        await_that(lambda: all(map(gone, trained)), sandbox, 3 * PATIENCE_S)
        join_here()
        await_that(lambda: sandbox.said().count("trial 0 started") == 2, sandbox)
        heal()
        assert process.wait(240) == 0, sandbox.said()
    finally:
        end_group(process)
    check(sandbox, whole, seen)
