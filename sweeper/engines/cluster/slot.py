"""The driver's end of a slot: a thread that listens to a node and saves what it leaves before reporting it."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sweeper.engines.cluster.actors import Actors
from sweeper.engines.cluster.calls import Lost, Refused, Unmet, ended_for_memory, in_words, lost, require_opened
from sweeper.engines.cluster.carrier import ArrivedDamaged, NotArrived, SharedCarrier, Shipment, carrier
from sweeper.engines.cluster.folders import ReceivedFolder, move_into
from sweeper.engines.cluster.messages import Command, Meet, Plan, Report, StopAhead, Submit, TrainAhead
from sweeper.engines.cluster.nodes import Node
from sweeper.engines.cluster.other_part import LISTEN_S, OtherPart
from sweeper.engines.cluster.places import Place
from sweeper.engines.protocol import (
    Aside,
    DiskTrouble,
    EpochFinished,
    Event,
    FoldAhead,
    FoldLeft,
    ImagesChanged,
    RanksAwaited,
    RanksUnmet,
    TrialEnded,
    WorkerDied,
)
from sweeper.errors import DiskError
from sweeper.files import write_whole
from sweeper.paths import StudyFolder, TrialFolder

logger = logging.getLogger(__name__)

RETRY_S = 0.5  # until a node that cannot be reached is called again
CLOSE_S = 3.0
THERE_S = 5.0  # that a node has to say that it is there, beside what it does for the driver


def close_all(slots: Sequence[Slot]) -> None:
    """End slots: the other ends are asked to tidy up and, where they do not, killed. Their trials can be continued."""
    import ray

    asked: list[Any] = []
    for slot in slots:
        with suppress(Exception):  # whatever it is, it is killed next
            asked += slot.ask_to_end()
    if asked:
        with suppress(Exception):
            ray.wait(asked, num_returns=len(asked), timeout=CLOSE_S)
    for slot in slots:
        slot.kill()


@dataclass(frozen=True)
class Ended:
    """Why a slot is of no more use.

    Attributes:
        node: The node at fault, or that of the worker.
        reason: What happened.
        again: Whether another slot could start on that node.
        apart: Nodes, by their ids, that cannot reach each other: then no single node is at fault.
        for_memory: Ray has ended it because the node had too little memory left.
    """

    node: Node
    reason: str
    again: bool
    apart: frozenset[str] = frozenset()
    for_memory: bool = False

    def loss_of(self, number: int) -> WorkerDied:
        """Return what a trial of the slot has lost; only where memory ran out is it at fault."""
        return WorkerDied(number, self.reason, for_memory=self.for_memory, blameless=not self.for_memory)


class Slot:
    """One slot, on a node or over several.

    Args:
        actors: The other ends: of the worker, `remote.RemoteSlot`, and of further nodes, `remote_ranks.RemoteRanks`.
        place: Where they are.
        plans: What each of its nodes must know, that of the worker first.
        folder: Where the folders of the trials lie here.
        patience_s: How long a node may be silent; longer than the lease of the other end.
        tell: Gets each event of the slot in its order, called by the thread of the slot.
        ended: Called once, after the last event, when the slot is of no more use, unless it was closed.
    """

    def __init__(
        self,
        actors: Actors,
        place: Place,
        plans: Sequence[Plan],
        folder: StudyFolder,
        patience_s: float,
        tell: Callable[[Slot, Event | FoldLeft], None],
        ended: Callable[[Slot, Ended], None],
    ):
        self.place = place
        self.begun_s = time.monotonic()
        self.reached = False
        """There is room on its node, where its other end runs."""
        self.ready = False
        self.numbers: list[int] = []
        self.ahead: FoldAhead | None = None
        self._actors, self._actor = actors, actors.lead
        self._plan = plan = plans[0]
        self._others = [
            OtherPart(actor, part.node, plan, patience_s)
            for actor, part, plan in zip(actors.others, place.parts[1:], plans[1:], strict=True)
        ]
        self._folder = folder
        self._patience_s = patience_s
        self._tell = tell
        self._ended = ended
        self._carrier = carrier(plan.shared, f"{plan.slot_id}-driver")
        self._senders = [plan.slot_id for plan in plans]
        self._commands: deque[tuple[int, Command]] = deque()
        self._sent = 0
        self._acknowledged = 0
        self._received: dict[int, ReceivedFolder] = {}
        self._wanted = False  # the fold that is trained ahead: nobody has stopped it
        self._writing = threading.Lock()  # held while the files of that fold are put in place
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, daemon=True, name=f"slot-{plan.slot_id}")

    def start(self) -> None:
        self._thread.start()

    @property
    def idle(self) -> bool:
        return self.ready and not self.busy

    @property
    def busy(self) -> bool:
        return bool(self.numbers) or self.ahead is not None

    def train_ahead(self, command: TrainAhead) -> None:
        """Train a fold of a trial of another slot; a `FoldLeft` says when it is done."""
        self.ahead = command.part
        self._wanted = True
        self.send(command)

    def stop_ahead(self, number: int) -> None:
        """Train no fold of this trial any more: from now on nothing of it is written here."""
        if self.ahead is not None and self.ahead.trial.number == number:
            with self._writing:
                self._wanted = False
            self.send(StopAhead(number))

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
        if isinstance(command, Submit):
            for other in self._others:
                other.send(command)
        self._actor.tell.remote(waiting)

    def _listen(self) -> None:
        lead = self.place.lead
        try:
            self._open()
            while not self._closed.is_set():
                for other in self._others:
                    other.look()
                for report in self._exchange():
                    self._bring(report)
                    if self._closed.is_set():
                        return
                    self._pass_on(report.event)
        except Refused as error:
            self._ended(self, Ended(error.node, str(error), again=False))
        except Lost as error:
            self._ended(self, Ended(error.node, str(error), again=True, for_memory=error.for_memory))
        except Unmet as error:
            self._ended(self, Ended(lead, str(error), again=True, apart=error.nodes))
        except NotArrived as error:
            self._ended(self, Ended(lead, f"{lead.host}: {error}", again=False))
        except ArrivedDamaged as error:
            self._ended(self, Ended(lead, f"{lead.host}: {error}", again=True))
        except Exception as error:
            logger.exception("a slot on %s ended", self.place.hosts)
            self._ended(self, Ended(lead, f"{lead.host}: {type(error).__name__}: {error}", again=True))

    def _pass_on(self, event: Event | Aside) -> None:
        """Tell of an event whom it concerns. Raises Refused where the node is of no more use, Unmet."""
        if isinstance(event, DiskTrouble | ImagesChanged):  # of that node; others may go on
            raise Refused(self.place.lead, event.message)
        if isinstance(event, RanksUnmet):
            raise Unmet(self.place.with_ranks(event.ranks), event.reason)
        if isinstance(event, RanksAwaited):
            for other in self._others:
                other.send(Meet(event.port))
        else:
            self._tell(self, event)

    def _open(self) -> None:
        """Wait until the nodes are prepared; raise Refused where one cannot be. Images may take long to decode.

        The worker's comes last, which waits for the others no longer than they need to call it.
        """
        import ray

        noticed: Any = None
        reaching = self._actor.here.remote()
        while not self._closed.is_set() and not all(other.is_open() for other in self._others):
            if noticed is None or ray.wait([noticed], timeout=0)[0]:
                noticed = self._actor.tell.remote([])  # so that its lease holds
            self.reached = self.reached or bool(ray.wait([reaching], timeout=0)[0])
            self._look(LISTEN_S)
        opening = self._actor.open.remote(self._plan)
        while not self._closed.is_set():
            done, _ = ray.wait([opening], timeout=LISTEN_S)
            self.reached = self.reached or bool(ray.wait([reaching], timeout=0)[0])
            self._look(0)
            if done:
                require_opened(self.place.lead, opening)
                self.reached = True  # should the answer to that still be on its way
                return

    def _look(self, after_s: float) -> None:
        self._closed.wait(after_s)
        for other in self._others:
            if other.is_open():
                other.look()

    def _exchange(self) -> list[Report]:
        """Return what the node has to report that is new. Raises Lost when it has been silent for too long."""
        import ray

        since, lead = time.monotonic(), self.place.lead
        while not self._closed.is_set():
            with self._lock:
                waiting = list(self._commands)
            asked = self._actor.exchange.remote(self._acknowledged, waiting, LISTEN_S)
            left = self._patience_s - (time.monotonic() - since)
            try:
                applied, reports = self._answer(asked, max(left, 0.1))
            except ray.exceptions.ActorUnavailableError:  # which does not prove that it is gone
                if time.monotonic() - since > self._patience_s:
                    raise Lost(lead, f"could not be reached for {self._patience_s:g} s") from None
                self._look(RETRY_S)
                continue
            except ray.exceptions.GetTimeoutError:
                raise Lost(lead, f"did not answer for {self._patience_s:g} s") from None
            except ray.exceptions.RayError as error:
                raise lost(lead, error) from error
            with self._lock:
                while self._commands and self._commands[0][0] <= applied:
                    self._commands.popleft()
            return [report for report in reports if report.sequence > self._acknowledged]
        return []

    def _answer(self, asked: Any, timeout_s: float) -> tuple[int, list[Report]]:
        """Return what a node answers, however long its files take while it is there.

        Meanwhile the other nodes are looked at, so that their leases hold. Raises what `ray.get` and a look do.
        """
        import ray

        deadline = time.monotonic() + timeout_s
        while not ray.wait([asked], timeout=min(LISTEN_S, timeout_s))[0]:
            self._look(0)
            if time.monotonic() >= deadline:
                ray.get(self._actor.here.remote(), timeout=THERE_S)
                deadline = time.monotonic() + self._patience_s
        answer: tuple[int, list[Report]] = ray.get(asked)
        return answer

    @contextmanager
    def _keeping_leases(self) -> Iterator[None]:
        """Let the nodes know that the driver is there while it takes files, which may be long."""
        import ray

        done, told = threading.Event(), dict[Any, Any]()

        def keep() -> None:
            while not done.wait(LISTEN_S):
                for actor in (self._actor, *self._actors.others):
                    with suppress(Exception):  # the next exchange says what is wrong
                        if actor not in told or ray.wait([told[actor]], timeout=0)[0]:
                            told[actor] = actor.tell.remote([])

        thread = threading.Thread(target=keep, daemon=True, name=f"leases-{self._plan.slot_id}")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _bring(self, report: Report) -> None:
        """Write what a report has brought along, and acknowledge it. Raises Lost, ArrivedDamaged, NotArrived."""
        import ray

        event = report.event
        try:
            if report.log:
                write_whole(self._folder.worker_logs / f"{self.place.lead.host}-{self._plan.slot_id}.log", report.log)
            if report.present is not None and isinstance(event, EpochFinished | TrialEnded | FoldLeft):
                with self._keeping_leases():
                    self._bring_files(event, report.changed, report.present)
        except DiskError as error:  # of the driver's own disk
            number = event.number if isinstance(event, EpochFinished | TrialEnded | FoldLeft | WorkerDied) else None
            self._tell(self, DiskTrouble(number, str(error)))
            self._closed.set()
            return
        except ray.exceptions.RayError as error:
            raise self._lost_with_files(error) from error
        self._acknowledged = report.sequence

    def _lost_with_files(self, error: Exception) -> Lost:
        """Return why files did not arrive: their node is gone, or memory has run out there, which Ray knows later."""
        import ray

        lead, deadline = self.place.lead, time.monotonic() + THERE_S
        while time.monotonic() < deadline:
            try:
                ray.get(self._actor.here.remote(), timeout=THERE_S)
                break
            except ray.exceptions.ActorUnavailableError:
                self._closed.wait(RETRY_S)
            except ray.exceptions.RayError as gone:
                if ended_for_memory(gone):
                    return lost(lead, gone)
                break
        return Lost(lead, f"its files did not arrive: {in_words(error)}")

    def _bring_files(
        self, event: EpochFinished | TrialEnded | FoldLeft, changed: Mapping[str, Shipment], present: frozenset[str]
    ) -> None:
        if isinstance(event, FoldLeft):
            self._bring_fold(event.number, changed, present)
        else:
            self._received[event.number].bring(self._carrier, changed, present)

    def _bring_fold(self, number: int, changed: Mapping[str, Shipment], present: frozenset[str]) -> None:
        """Put what a fold has left into its trial's folder, unless it was stopped; that folder has another writer."""
        arrived = TrialFolder(self._folder.arriving / self._plan.slot_id)
        shutil.rmtree(arrived.path, ignore_errors=True)
        ReceivedFolder(arrived, ()).bring(self._carrier, changed, present)
        with self._writing:
            if self._wanted:
                move_into(self._folder.trial(number), arrived)
        shutil.rmtree(arrived.path, ignore_errors=True)

    def ask_to_end(self) -> list[Any]:
        """Ask the other ends to tidy up, and return their answers to come; none of those that do not run yet."""
        self._closed.set()
        if not self.reached:
            return []
        return [actor.close.remote() for actor in (self._actor, *self._actors.others)]

    def kill(self) -> None:
        """End the other ends at once, where they can be reached; elsewhere their leases end them."""
        import ray

        self._closed.set()
        for actor in (self._actor, *self._actors.others):
            try:
                ray.kill(actor)
            except Exception:
                logger.debug("a slot on %s cannot be told to end", self.place.hosts, exc_info=True)
        self._actors.free()
        if isinstance(self._carrier, SharedCarrier):
            self._carrier.close(*self._senders)
