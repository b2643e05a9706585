"""Starting the nodes' ends of a slot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sweeper.engines.cluster.places import Part, Place, Share

NODE_LABEL = "ray.io/node-id"


@dataclass(frozen=True)
class Actors:
    """The nodes' ends of a slot: that of its worker, those of its other nodes, and how what they hold is freed."""

    lead: Any
    others: tuple[Any, ...] = ()
    free: Callable[[], None] = lambda: None


ONCE: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "max_concurrency": 4}
"""Ray never starts an actor again, since each is started with a new token."""

NO_GPU = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
"""Of an actor that gets no GPU: Ray hides none from it, and all slots of a node would train on the first one."""


def start_actors(place: Place, share: Share, lease_s: float) -> Actors:
    """Start the other ends of a slot."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from sweeper.engines.cluster.remote import RemoteSlot

    if len(place.parts) > 1:
        return _start_spread(place, share, lease_s)
    (part,) = place.parts
    there = NodeAffinitySchedulingStrategy(part.node.id, soft=False)
    return Actors(_start(RemoteSlot, _held(part, share), there, lease_s, share))


def _start_spread(place: Place, share: Share, lease_s: float) -> Actors:
    """Start an actor on each node once there is room for all of them, so that no two sweeps wait for each other."""
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    from sweeper.engines.cluster.remote import RemoteSlot
    from sweeper.engines.cluster.remote_ranks import RemoteRanks

    held = [_held(part, share) for part in place.parts]
    where = [{NODE_LABEL: part.node.id} for part in place.parts]
    group = placement_group([_bundle(*each) for each in held], strategy="PACK", bundle_label_selector=where)
    there = [PlacementGroupSchedulingStrategy(group, index) for index in range(len(held))]
    lead = _start(RemoteSlot, held[0], there[0], lease_s, share)
    others = [_start(RemoteRanks, *each, lease_s, share) for each in zip(held[1:], there[1:], strict=True)]

    def free() -> None:
        with suppress(Exception):  # the cluster is gone, and the group with it
            remove_placement_group(group)

    return Actors(lead, tuple(others), free)


def _start(end: type, held: tuple[float, float], there: Any, lease_s: float, share: Share) -> Any:
    import ray

    cpus, gpus = held
    options = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": there, **ONCE}
    seen = {"runtime_env": NO_GPU} if share.hides_gpus else {}
    return ray.remote(end).options(**options, **seen).remote(lease_s)


def _held(part: Part, share: Share) -> tuple[float, float]:
    """Return how many CPUs and GPUs the devices of a part get."""
    return share.cpus * part.here / share.devices, share.gpus * part.here / share.devices


def _bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
