"""A node on which memory runs out: Ray ends an actor, and its trial goes on in smaller parts."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Machines, await_that, sandbox_on
from tests.cluster.test_cluster import after_epoch, ended_well
from tests.functional.chaos import SPACE, recorded

pytestmark = pytest.mark.slow

SPARE_GB, BALLAST_GB = 4, 8
"""What the node may use more than now, and what is allocated beside it at most."""


def test_a_trial_whose_actor_ray_ends_for_memory_goes_on_with_a_quarter(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    memory = psutil.virtual_memory()
    if memory.available < (BALLAST_GB + 2) * 2**30:
        pytest.skip(f"needs {BALLAST_GB + 2} GB of memory that is free")
    threshold = (memory.total - memory.available + SPARE_GB * 2**30) / memory.total
    machines.add(env_vars={"RAY_memory_usage_threshold": f"{threshold:.3f}"})
    search = {**SPACE["search"], "batch_size": 48}
    sandbox = sandbox_on(machines, tmp_path, node_folder, budget={"trials": 1, "epochs": 60}, search=search)
    process = sandbox.start()
    after_epoch(sandbox, 2)
    ballast: list[bytes] = []

    def ended_for_memory() -> bool:
        if len(ballast) < 4 * BALLAST_GB:
            ballast.append(b"1" * 2**28)
        return "memory ran out on the node" in " ".join(sandbox.said().split())

    await_that(ended_for_memory, sandbox)
    ballast.clear()
    ended_well(process, sandbox)
    sizes = [value for _, value, _ in recorded(sandbox)["trial-0000"]["micro_batch_size"]]
    assert sizes[0] == 48
    assert sizes[-1] <= 12
