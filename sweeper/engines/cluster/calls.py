"""What the driver learns from a call of a node that comes to nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sweeper.engines.cluster.nodes import Node

LOW_ON_MEMORY = "running low on memory"
"""What Ray says of an actor that it has ended for that, where it says so in the text alone."""


class Refused(Exception):
    """A node cannot take trials of this study."""

    def __init__(self, node: Node, reason: str):
        super().__init__(f"{node.host}: {reason}")
        self.node = node


class Lost(Exception):
    """A node, or its end of a slot, is gone; `for_memory` where Ray has ended it because the node had too little."""

    def __init__(self, node: Node, reason: str, *, for_memory: bool = False):
        super().__init__(f"{node.host}: {reason}")
        self.node, self.for_memory = node, for_memory


class Unmet(Exception):
    """Nodes of one slot cannot reach each other, though each of them may be sound."""

    def __init__(self, nodes: Collection[Node], reason: str):
        super().__init__(f"{' and '.join(node.host for node in nodes)}: {reason}")
        self.nodes = frozenset(node.id for node in nodes)


def require_opened(node: Node, asked: Any) -> None:
    """Raise Refused or Lost unless an actor has answered the call of its `open` by saying that it is open."""
    import ray

    try:
        opened = ray.get(asked)
    except ray.exceptions.RayTaskError as error:
        raise Refused(node, str(error.cause)) from error
    except ray.exceptions.RayError as error:
        raise lost(node, error) from error
    if opened.refusal is not None:
        raise Refused(node, opened.refusal)


def lost(node: Node, error: Exception) -> Lost:
    """Return that a node, or its end of a slot, is gone, for the failure of a call to it."""
    return Lost(node, in_words(error), for_memory=ended_for_memory(error))


def ended_for_memory(error: Exception) -> bool:
    """Return whether a call has failed because Ray has ended the actor, whose node had too little memory left."""
    import ray

    return isinstance(error, ray.exceptions.OutOfMemoryError) or LOW_ON_MEMORY in str(error)


def in_words(error: Exception) -> str:
    """Return Ray's account of a failure in one line."""
    if ended_for_memory(error):
        return "Ray ended its worker because memory ran out on the node"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "cause" in line.lower() or "died" in line.lower()]
    return (causes or lines or [type(error).__name__])[0]
