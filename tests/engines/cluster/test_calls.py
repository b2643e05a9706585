"""What the driver makes of calls that have failed, by the exceptions that Ray itself raises; no cluster is needed."""

from __future__ import annotations

import pytest

from sweeper.engines.cluster.calls import lost
from sweeper.engines.cluster.nodes import Node
from sweeper.engines.cluster.slot import Ended
from sweeper.engines.protocol import WorkerDied

exceptions = pytest.importorskip("ray.exceptions", reason="Ray is not installed: make chaos-cluster does it")

A = Node("a", "a", 1, 0)
BY_MONITOR = (
    "Memory on the node (IP: 10.0.0.2, ID: 1f) where the task was running was 15.2GB / 16.0GB (0.951), which exceeds "
    "the memory usage threshold of 0.95. Ray killed this worker because it was the most recently scheduled task"
)
LOW = "Worker exit type: NODE_OUT_OF_MEMORY. Task was killed due to the node running low on memory."


@pytest.mark.parametrize(
    ("error", "for_memory"),
    [
        (exceptions.OutOfMemoryError(BY_MONITOR), True),
        (exceptions.RayActorError("ff", LOW), True),
        (exceptions.ActorDiedError(), False),
        (exceptions.OwnerDiedError("ff", "", ""), False),
    ],
    ids=["memory", "memory in the text alone", "died", "owner died"],
)
def test_an_actor_that_ray_ends_because_memory_ran_out_counts_against_its_trials(
    error: Exception, for_memory: bool
) -> None:
    found = lost(A, error)
    assert found.for_memory is for_memory
    ended = Ended(A, str(found), again=True, for_memory=found.for_memory)
    assert ended.loss_of(3) == WorkerDied(3, ended.reason, for_memory=for_memory, blameless=not for_memory)
    assert ("memory ran out on the node" in ended.reason) is for_memory
