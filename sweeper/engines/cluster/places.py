"""Where in a cluster trials have room: on one node, or over several where a node has too few devices.

A trial on several devices stays within one node where that can be. A node that has room for whole trials takes nothing
else; the devices of nodes that are too small for one are put together, those with most of them first, so
that a trial is on as few nodes as possible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweeper.engines.cluster.nodes import Node


@dataclass(frozen=True)
class Share:
    """What a trial gets of the cluster: CPUs, GPUs, as how many devices it is trained, and which the study names."""

    cpus: float
    gpus: float
    devices: int = 1
    device: str = "auto"

    @property
    def hides_gpus(self) -> bool:
        """Whether a trial that gets no GPU is to see none; a study that names a single one itself may use it."""
        return not self.gpus and ":" not in self.device

    @property
    def alone(self) -> bool:
        """Whether a device of a trial is its own; a CPU has room for other slots and programs, as has part of a GPU."""
        return self.gpus >= self.devices

    def whole(self, node: Node) -> int:
        """Return how many trials have room on a node."""
        return node.slots(self.cpus, self.gpus)

    def parts(self, node: Node) -> int:
        """Return how many of the devices of trials have room on a node."""
        return node.slots(self.cpus / self.devices, self.gpus / self.devices)


@dataclass(frozen=True)
class Part:
    """Devices of one slot on one node: the rank of the first, and how many there are."""

    node: Node
    first: int
    here: int


@dataclass(frozen=True)
class Place:
    """Where the devices of a slot are. Its worker is on the node of the first part."""

    parts: tuple[Part, ...]

    @property
    def lead(self) -> Node:
        """The node of the worker."""
        return self.parts[0].node

    @property
    def hosts(self) -> str:
        """The names of its nodes."""
        return " and ".join(part.node.host for part in self.parts)

    def with_ranks(self, ranks: Collection[int]) -> list[Node]:
        """Return the node of the worker, and those that have one of some ranks."""
        others = (part for part in self.parts[1:] if set(ranks) & set(range(part.first, part.first + part.here)))
        return [self.lead, *(part.node for part in others)]


def free_places(
    nodes: Sequence[Node],
    taken: Iterable[Place],
    share: Share,
    *,
    spread: bool,
    apart: Collection[frozenset[str]] = (),
) -> Iterator[Place]:
    """Yield where slots have room beside those that there are: whole ones first, then, with `spread`, over nodes.

    Nodes that are `apart`, by their ids, cannot reach each other, and are not put together.
    """
    slots, devices = Counter[str](), Counter[str]()
    for place in taken:
        for part in place.parts:
            slots[part.node.id] += 1
            devices[part.node.id] += part.here
    for node in nodes:
        for _ in range(share.whole(node) - slots[node.id]):
            yield Place((Part(node, 0, share.devices),))
    if spread and share.devices > 1:
        small = [node for node in nodes if not share.whole(node)]
        yield from _over_nodes({node: share.parts(node) - devices[node.id] for node in small}, share.devices, apart)


def _over_nodes(free: dict[Node, int], devices: int, apart: Collection[frozenset[str]]) -> Iterator[Place]:
    """Yield places that take the free devices of several nodes."""
    while together := _together(free, devices, apart):
        parts: list[Part] = []
        first = 0
        for node in together:
            here = min(free[node], devices - first)
            parts.append(Part(node, first, here))
            first += here
            free[node] -= here
        yield Place(tuple(parts))


def _together(free: Mapping[Node, int], devices: int, apart: Collection[frozenset[str]]) -> list[Node]:
    """Return nodes that have enough free devices, those with most of them first, none of them apart; else none."""
    by_room = sorted((node for node, left in free.items() if left > 0), key=lambda node: -free[node])
    for first in by_room:
        chosen: list[Node] = []
        for node in [first, *(node for node in by_room if node is not first)]:
            ids = {other.id for other in [*chosen, node]}
            if not any(cut <= ids for cut in apart):
                chosen.append(node)
            if sum(free[node] for node in chosen) >= devices:
                return chosen
    return []
