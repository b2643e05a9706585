"""The driver's end of that part of a slot which is on another node than its worker."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from sweeper.engines.cluster.calls import Lost, Refused, lost, require_opened
from sweeper.engines.cluster.messages import Command, Plan
from sweeper.engines.cluster.nodes import Node

LISTEN_S = 1.0  # that a node waits for something to say


class OtherPart:
    """Devices of a slot on another node.

    Args:
        actor: Their end, `remote_ranks.RemoteRanks`.
        node: Where they are.
        plan: What the node must know.
        patience_s: How long it may be silent.
    """

    def __init__(self, actor: Any, node: Node, plan: Plan, patience_s: float):
        self.actor = actor
        self._node, self._plan, self._patience_s = node, plan, patience_s
        self._lock = threading.Lock()
        self._commands: deque[tuple[int, Command]] = deque()
        self._sent = 0
        self._opening: Any = None
        self._asked: Any = None
        self._open = False

    def is_open(self) -> bool:
        """Return whether the node is prepared, and let it begin with that. Raises Refused where it cannot be, Lost."""
        import ray

        if self._opening is None:
            self._opening = self.actor.open.remote(self._plan, self._plan.spread)
        if not self._open and ray.wait([self._opening], timeout=0)[0]:
            require_opened(self._node, self._opening)
            self._open, self._heard = True, time.monotonic()
        return self._open

    def send(self, command: Command) -> None:
        """Send a command at once; it is sent again with each look until the node has taken it."""
        with self._lock:
            self._sent += 1
            self._commands.append((self._sent, command))
            waiting = list(self._commands)
        self.actor.tell.remote(waiting)

    def look(self) -> None:
        """Take what the node has answered, and ask again. Raises Lost, and Refused where it is of no more use."""
        import ray

        if self._asked is not None and ray.wait([self._asked], timeout=0)[0]:
            asked, self._asked = self._asked, None
            with suppress(ray.exceptions.ActorUnavailableError):  # which does not prove that it is gone
                self._take(asked)
        if time.monotonic() - self._heard > self._patience_s:
            raise Lost(self._node, f"did not answer for {self._patience_s:g} s")
        if self._asked is None:
            with self._lock:
                waiting = list(self._commands)
            self._asked = self.actor.exchange.remote(waiting, LISTEN_S)

    def _take(self, asked: Any) -> None:
        import ray

        try:
            applied, trouble = ray.get(asked)
        except ray.exceptions.ActorUnavailableError:
            raise
        except ray.exceptions.RayError as error:
            raise lost(self._node, error) from error
        self._heard = time.monotonic()
        with self._lock:
            while self._commands and self._commands[0][0] <= applied:
                self._commands.popleft()
        if trouble is not None:
            raise Refused(self._node, trouble)
