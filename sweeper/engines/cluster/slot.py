"""The driver's end of a slot: a thread that listens to a node and saves what it leaves before reporting it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sweeper.engines.cluster.carrier import ArrivedDamaged, carrier
from sweeper.engines.cluster.folders import ReceivedFolder
from sweeper.engines.cluster.messages import Command, Plan, Report, Submit
from sweeper.engines.cluster.nodes import Node
from sweeper.engines.protocol import DiskTrouble, EpochFinished, Event, ImagesChanged, TrialEnded
from sweeper.errors import DiskError
from sweeper.files import write_whole
from sweeper.paths import StudyFolder

logger = logging.getLogger(__name__)

LISTEN_S = 1.0  # that a node waits for something to report
RETRY_S = 0.5  # until a node that cannot be reached is called again
CLOSE_S = 3.0


class Refused(Exception):
    """The node cannot take trials of this study."""


class Lost(Exception):
    """The node, or its end of the slot, is gone."""


class Slot:
    """One slot on a node.

    Args:
        actor: The other end, `remote.RemoteSlot`.
        node: Where it is.
        plan: What the node must know.
        folder: Where the folders of the trials lie here.
        patience_s: How long the node may be silent; longer than the lease of the other end.
        tell: Gets each event of the slot in its order, called by the thread of the slot.
        ended: Called once, after the last event, with the reason why the slot is of no more use, unless it was closed,
            and whether another could start on its node.
    """

    def __init__(
        self,
        actor: Any,
        node: Node,
        plan: Plan,
        folder: StudyFolder,
        patience_s: float,
        tell: Callable[[Slot, Event], None],
        ended: Callable[[Slot, str, bool], None],
    ):
        self.node = node
        self.ready = False
        self.numbers: list[int] = []
        self._actor = actor
        self._plan = plan
        self._folder = folder
        self._patience_s = patience_s
        self._tell = tell
        self._ended = ended
        self._carrier = carrier(plan.shared, f"{plan.slot_id}-driver")
        self._commands: deque[tuple[int, Command]] = deque()
        self._sent = 0
        self._acknowledged = 0
        self._received: dict[int, ReceivedFolder] = {}
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True, name=f"slot-{plan.slot_id}")

    def start(self) -> None:
        self._thread.start()

    @property
    def idle(self) -> bool:
        return self.ready and not self.numbers

    def send(self, command: Command) -> None:
        """Send a command at once; it is sent again with each call until the node has taken it."""
        with self._lock:
            self._sent += 1
            self._commands.append((self._sent, command))
            if isinstance(command, Submit):
                for spec in command.group:
                    known = command.folders.get(spec.number, {})
                    self._received[spec.number] = ReceivedFolder(self._folder.trial(spec.number), known)
            waiting = list(self._commands)
        self._actor.tell.remote(waiting)

    def _listen(self) -> None:
        try:
            self._open()
            while not self._closed.is_set():
                for report in self._exchange():
                    self._bring(report)
                    if self._closed.is_set():
                        return
                    if isinstance(report.event, DiskTrouble | ImagesChanged):  # of that node; others may go on
                        raise Refused(report.event.message)
                    self._tell(self, report.event)
        except Refused as error:
            self._ended(self, f"{self.node.host}: {error}", False)
        except (Lost, ArrivedDamaged) as error:
            self._ended(self, f"{self.node.host}: {error}", True)
        except Exception as error:
            logger.exception("a slot on %s ended", self.node.host)
            self._ended(self, f"{self.node.host}: {type(error).__name__}: {error}", True)

    def _open(self) -> None:
        """Wait until the node is prepared; raise Refused where it cannot be. Images may take long to decode."""
        import ray

        opening = self._actor.open.remote(self._plan)
        while not self._closed.is_set():
            done, _ = ray.wait([opening], timeout=LISTEN_S)
            if done:
                opened = self._answer_to(opening)
                if opened.refusal is not None:
                    raise Refused(opened.refusal)
                return

    def _exchange(self) -> list[Report]:
        """Return what the node has to report that is new. Raises Lost when it has been silent for too long."""
        import ray

        since = time.monotonic()
        while not self._closed.is_set():
            with self._lock:
                waiting = list(self._commands)
            asked = self._actor.exchange.remote(self._acknowledged, waiting, LISTEN_S)
            left = self._patience_s - (time.monotonic() - since)
            try:
                applied, reports = ray.get(asked, timeout=max(left, 0.1))
            except ray.exceptions.ActorUnavailableError:  # which does not prove that it is gone
                if time.monotonic() - since > self._patience_s:
                    raise Lost(f"could not be reached for {self._patience_s:g} s") from None
                self._closed.wait(RETRY_S)
                continue
            except ray.exceptions.GetTimeoutError:
                raise Lost(f"did not answer for {self._patience_s:g} s") from None
            except ray.exceptions.RayError as error:
                raise Lost(_in_words(error)) from error
            with self._lock:
                while self._commands and self._commands[0][0] <= applied:
                    self._commands.popleft()
            return [report for report in reports if report.sequence > self._acknowledged]
        return []

    def _answer_to(self, asked: Any) -> Any:
        import ray

        try:
            return ray.get(asked)
        except ray.exceptions.RayTaskError as error:
            raise Refused(str(error.cause)) from error
        except ray.exceptions.RayError as error:
            raise Lost(_in_words(error)) from error

    def _bring(self, report: Report) -> None:
        """Write what a report has brought along, and acknowledge it. Raises Lost, ArrivedDamaged."""
        import ray

        event = report.event
        if report.log:
            write_whole(self._folder.worker_logs / f"{self.node.host}-{self._plan.slot_id}.log", report.log)
        if report.present is not None and isinstance(event, EpochFinished | TrialEnded):
            try:
                self._received[event.number].bring(self._carrier, report.changed, report.present)
            except DiskError as error:
                self._tell(self, DiskTrouble(event.number, str(error)))
                self._closed.set()
                return
            except ray.exceptions.RayError as error:
                raise Lost(f"its files did not arrive: {_in_words(error)}") from error
        self._acknowledged = report.sequence

    def close(self) -> None:
        """End the other end: it is asked to tidy up and, where it does not, killed. Its trials can be continued."""
        import ray

        self._closed.set()
        with suppress(Exception):  # whatever it is, it is killed next
            ray.get(self._actor.close.remote(), timeout=CLOSE_S)
        self.kill()

    def kill(self) -> None:
        """End the other end at once, where it can be reached; elsewhere its lease ends it."""
        import ray

        self._closed.set()
        try:
            ray.kill(self._actor)
        except Exception:
            logger.debug("a slot on %s cannot be told to end", self.node.host, exc_info=True)
        if hasattr(self._carrier, "close"):
            self._carrier.close()


def _in_words(error: Exception) -> str:
    """Return Ray's account of a failure in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if "cause" in line.lower() or "died" in line.lower()]
    return (causes or lines or [type(error).__name__])[0]
