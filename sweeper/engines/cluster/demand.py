"""Which slots a run still lacks, and which it can do without.

Other runs may be using a node, which Ray does not say: a slot is started there and waits. So a run that wants few slots
starts more of them, on other nodes, while some wait, and ends those that still do once it has as many as it wants.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from sweeper.engines.cluster.nodes import Node
from sweeper.engines.cluster.slot import Slot

WAITS_S = 10.0
"""After which a slot that does not run is taken to wait for room; a process of Ray takes seconds to start."""


def lacking(slots: Sequence[Slot], most: int | None) -> int | None:
    """Return how many slots may be started beside those that run or have just been started; None for any number."""
    return None if most is None else max(0, most - sum(not waits(slot) for slot in slots))


def waits(slot: Slot) -> bool:
    """Return whether a slot waits for room that others use."""
    return not slot.reached and time.monotonic() - slot.begun_s > WAITS_S


def without_room(slots: Sequence[Slot]) -> set[str]:
    """Return the nodes, by their ids, on which slots wait: another one would wait there, too."""
    return {part.node.id for slot in slots if waits(slot) for part in slot.place.parts}


def surplus(slots: Sequence[Slot], most: int | None) -> list[Slot]:
    """Return the slots to end, where none is on a trial: those beyond `most`, and then all that do not run yet."""
    running = [slot for slot in slots if slot.reached]
    if most is None or len(running) < most:
        return []
    idle = [slot for slot in reversed(running) if not slot.busy]
    return [slot for slot in slots if slot not in running] + idle[: len(running) - most]


def left_behind(slots: Sequence[Slot], nodes: Sequence[Node]) -> Iterator[tuple[Slot, Node]]:
    """Yield slots that are not ready and have devices on a node that is gone, with that node.

    What Ray has not started yet would wait for that very node, and no error would ever say so.
    """
    there = {node.id for node in nodes}
    for slot in slots:
        gone = [part.node for part in slot.place.parts if part.node.id not in there]
        if gone and not slot.ready:
            yield slot, gone[0]
