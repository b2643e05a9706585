"""What the driver learns from a call of a node that comes to nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sweeper.engines.cluster.nodes import Node


class Refused(Exception):
    """A node cannot take trials of this study."""

    def __init__(self, node: Node, reason: str):
        super().__init__(f"{node.host}: {reason}")
        self.node = node


class Lost(Exception):
    """A node, or its end of a slot, is gone."""

    def __init__(self, node: Node, reason: str):
        super().__init__(f"{node.host}: {reason}")
        self.node = node


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
        raise Lost(node, in_words(error)) from error
    if opened.refusal is not None:
        raise Refused(node, opened.refusal)


def in_words(error: Exception) -> str:
    """Return Ray's account of a failure in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "cause" in line.lower() or "died" in line.lower()]
    return (causes or lines or [type(error).__name__])[0]
