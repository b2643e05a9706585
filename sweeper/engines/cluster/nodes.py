"""The nodes of a Ray cluster, and how many slots each has room for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.config.engine import RayConfig
from sweeper.safeguards.quantity import amount

ROUNDING = 1e-6


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is there now."""

    id: str
    host: str
    cpus: float
    gpus: float
    address: str = ""
    """Where the other nodes reach it."""

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many trials with this share of CPUs and GPUs have room here.

        A trial with a part of a GPU has it of one GPU.
        """
        by_cpu = math.floor(self.cpus / cpus + ROUNDING)
        if not gpus:
            return by_cpu
        if gpus >= 1:
            return min(by_cpu, math.floor(self.gpus / gpus + ROUNDING))
        return min(by_cpu, int(self.gpus) * math.floor(1 / gpus + ROUNDING))


def nodes_alive() -> list[Node]:
    """Return the nodes that the cluster has now, in the order of their hosts."""
    import ray

    nodes: Any = ray.nodes
    found = [node_of(node) for node in nodes() if node["Alive"]]
    return sorted(found, key=lambda node: (node.host, node.id))


def node_of(described: Mapping[str, Any]) -> Node:
    resources = described["Resources"]
    address = described["NodeManagerAddress"]
    host = described.get("NodeManagerHostname") or address
    return Node(described["NodeID"], host, resources.get("CPU", 0.0), resources.get("GPU", 0.0), address)


def gpus_of_a_trial(config: RayConfig, nodes: Sequence[Node], device: str, devices_per_trial: int = 1) -> float:
    """Return how many GPUs, or which part of one, a trial gets.

    By default as many as it trains on, where the cluster has any and they are wanted.
    """
    if config.gpus_per_trial is not None:
        return config.gpus_per_trial
    wanted = device in ("auto", "cuda")
    return float(devices_per_trial) if wanted and any(node.gpus for node in nodes) else 0.0


def described(nodes: Sequence[Node]) -> str:
    """Return the nodes in words."""
    return (
        ", ".join(f"{node.host} ({amount(node.cpus, 'CPU')}, {amount(node.gpus, 'GPU')})" for node in nodes)
        or "no node"
    )
