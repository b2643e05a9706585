"""Nodes that the driver reaches, and that cannot reach each other, as behind the firewall of each machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import await_that
from tests.cluster.test_partition import does, end_ray, in_space, ray_start, sandbox_on, start_head
from tests.functional.chaos import Sandbox, check, end_group

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make network namespaces"),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("iptables")), reason="ip or iptables is not installed"),
]

BRIDGE = "sweeper-bridge"
HEAD, PORT = "10.77.4.1", 20417
NODES = (2, 3, 4)
MEETINGS_S = 240.0
"""Within it two meetings of a minute each have come to nothing."""


def space(number: int) -> str:
    return f"sweeper-apart-{number}"


def outer(number: int) -> str:
    return f"apart-out-{number}"


def address(number: int) -> str:
    return f"10.77.4.{number}"


def join(number: int) -> None:
    """Let a node with room for one device join, in a network space of its own."""
    ray_start(f"--address={HEAD}:{PORT}", f"--node-ip-address={address(number)}", "--num-cpus=1", inside=space(number))


def part(one: int, other: int) -> None:
    """Let no packet pass between two nodes."""
    for here, there in ((one, other), (other, one)):
        does(*in_space(space(here)), "iptables", "-A", "INPUT", "-s", address(there), "-j", "DROP")


@pytest.fixture
def nodes() -> Iterator[None]:
    """A cluster of a head without room and the nodes 2, 3 and 4 on one network; 2 and 3 have joined, and are apart."""
    pytest.importorskip("ray", reason="Ray is not installed: make chaos-cluster does it")
    does("ip", "link", "add", BRIDGE, "type", "bridge")
    does("ip", "addr", "add", f"{HEAD}/24", "dev", BRIDGE)
    does("ip", "link", "set", BRIDGE, "up")
    try:
        for number in NODES:
            inner = f"apart-in-{number}"
            does("ip", "netns", "add", space(number))
            does("ip", "link", "add", outer(number), "type", "veth", "peer", "name", inner, "netns", space(number))
            does("ip", "link", "set", outer(number), "master", BRIDGE, "up")
            for command in (f"addr add {address(number)}/24 dev {inner}", f"link set {inner} up", "link set lo up"):
                does("ip", "-n", space(number), *command.split())
        part(2, 3)
        start_head(HEAD, PORT)
        join(2)
        join(3)
        yield
    finally:
        end_ray()
        made = [f"netns del {space(number)}" for number in NODES] + [f"link del {outer(number)}" for number in NODES]
        for what in (*made, f"link del {BRIDGE}"):
            subprocess.run(["ip", *what.split()], capture_output=True, check=False)


SHORT: dict[str, Any] = {
    "budget": {"trials": 2, "epochs": 4},
    "sampler": "random",
    "pruner": "none",
    "devices_per_trial": 2,
}


def study_on(root: Path, node_folder: Path) -> Sandbox:
    return sandbox_on(root, node_folder, head=HEAD, port=PORT, **SHORT, engine={"cpus_per_trial": 2})


def test_each_of_two_nodes_that_are_apart_is_put_together_with_a_third(
    nodes: None, tmp_path: Path, node_folder: Path
) -> None:
    whole = Sandbox.make(tmp_path / "whole", **SHORT)
    assert whole.run() == 0, whole.said()
    sandbox = study_on(tmp_path / "apart", node_folder)
    process = sandbox.start()
    try:
        await_that(lambda: "did not reach" in sandbox.said(), sandbox)
        join(4)
        assert process.wait(MEETINGS_S) == 0, sandbox.said()
    finally:
        end_group(process)
    assert "one worker less" in sandbox.said()
    check(sandbox, whole, {})


def test_where_no_others_are_left_the_study_ends_and_says_what_machines_must_be_able_to_do(
    nodes: None, tmp_path: Path, node_folder: Path
) -> None:
    sandbox = study_on(tmp_path / "apart", node_folder)
    process = sandbox.start()
    try:
        assert process.wait(MEETINGS_S) == 4, sandbox.said()
    finally:
        end_group(process)
    assert "machines of a cluster must be able to open connections to each other" in " ".join(sandbox.said().split())
