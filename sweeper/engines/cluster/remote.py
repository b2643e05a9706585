"""The node's end of a slot: a Ray actor with one worker of the local engine beside it.

The worker is a process of its own, so that what kills it (a crash in compiled code, memory) leaves the actor alive to
say so. The driver may be gone without anyone saying so: it calls at least every few seconds, and when no call has come
for the time of the lease, the actor ends its worker and itself. Until then the driver gives its trials to nobody.
"""

from __future__ import annotations

import platform
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TypeGuard

from sweeper.engines.cluster.carrier import Shipment
from sweeper.engines.cluster.folders import SentFolder
from sweeper.engines.cluster.lease import Lease
from sweeper.engines.cluster.messages import (
    Answer,
    Command,
    GiveUp,
    Plan,
    Report,
    Reserve,
    Settle,
    StopAhead,
    Submit,
    TrainAhead,
)
from sweeper.engines.cluster.on_node import Opened, StudyOnNode
from sweeper.engines.local import LocalEngine
from sweeper.engines.protocol import (
    Aside,
    EpochFinished,
    Event,
    FoldAhead,
    FoldLeft,
    SlotRetired,
    TrialEnded,
    WorkerDied,
)
from sweeper.errors import DiskError, SweeperError
from sweeper.files import AlreadyLocked, file_lock

LONGEST_LOG = 20_000  # characters of it that are sent


class RemoteSlot:
    """One slot on a node. All methods may be called at the same time; those that change something hold its lock."""

    def __init__(self, lease_s: float) -> None:
        self._lock = threading.RLock()
        self._engine: LocalEngine | None = None
        self._reports: deque[Report] = deque()
        self._reported = 0
        self._applied = 0
        self._waiting: Submit | TrainAhead | None = None
        self._folders: dict[int, SentFolder] = {}
        self._reserved: dict[tuple[int, int], ExitStack] = {}
        self._anew = False
        self._lease = Lease(lease_s, self._lock, self.close)

    def here(self) -> None:
        """Answer as soon as the node has room for this slot; preparing it takes longer."""

    def open(self, plan: Plan) -> Opened:
        """Prepare this node for a study and start a worker, or say why that cannot be."""
        with self._lock:
            try:
                self._study = StudyOnNode(plan)
            except (SweeperError, OSError) as error:
                return Opened(platform.node(), str(error))
            self._anew = plan.spread is not None  # its other nodes have nothing but what the driver has
            self._engine = self._started(plan)
            self._lease.renew()  # on a busy node that took its time
        return Opened(platform.node(), None)

    def _started(self, plan: Plan) -> LocalEngine:
        """Return the worker of this slot."""
        study = self._study
        return LocalEngine(
            study.sweep,
            study.workspace,
            1,
            folder=study.folder,
            threads=plan.threads,
            alone=plan.alone,
            spread=plan.spread,
            aside=self._report,
        )

    def exchange(
        self, acknowledged: int, commands: Sequence[tuple[int, Command]], wait_s: float
    ) -> tuple[int, list[Report]]:
        """Take commands, and return the number of the last one that was taken and the reports not acknowledged yet.

        Waits for at most `wait_s` for the first report.
        """
        self.tell(commands)
        engine = self._engine
        if engine is None:
            return self._applied, []
        if not self._outstanding(acknowledged):
            engine.wait(wait_s)
        with self._lock:
            self._lease.renew()
            for event in engine.events(0):
                self._report(event)
            self._hand_over(engine)
            self._lease.renew()  # files may have taken long on their way
            return self._applied, self._outstanding(acknowledged)

    def _outstanding(self, acknowledged: int) -> list[Report]:
        with self._lock:
            while self._reports and self._reports[0].sequence <= acknowledged:
                self._reports.popleft()
            return list(self._reports)

    def tell(self, commands: Sequence[tuple[int, Command]]) -> None:
        """Take commands in their order; each counts once, however often it comes."""
        with self._lock:
            self._lease.renew()
            for sequence, command in commands:
                if sequence == self._applied + 1 and self._engine is not None:
                    self._apply(self._engine, command)
                    self._applied = sequence
                    self._lease.renew()

    def _apply(self, engine: LocalEngine, command: Command) -> None:
        match command:
            case Submit() | TrainAhead():
                self._waiting = command
                self._hand_over(engine)
            case StopAhead(number):
                self._stop_ahead(engine, number)
            case Reserve(number, fold):
                if number in engine.busy | self._waiting_for_a_worker():
                    self._reserve(number, fold)
            case Settle(number, fold, files):
                self._settle(number, fold, files)
            case Answer(number, prune):
                if number in engine.busy:
                    engine.answer(number, prune=prune)
            case GiveUp(number, reason):
                if number in engine.busy:
                    engine.give_up(number, reason)

    def _hand_over(self, engine: LocalEngine) -> None:
        """Give the worker its trials once it can take them: it may have died idle."""
        if self._waiting is None or not engine.idle:
            return
        submit, self._waiting = self._waiting, None
        if isinstance(submit, TrainAhead):
            self._train_ahead(engine, submit)
            return
        for spec in submit.group:
            if self._anew:
                self._study.drop_trial(spec.number)
            self._folders[spec.number] = SentFolder(self._study.trial(spec.number))
            self._folders[spec.number].take(self._study.carrier, submit.folders.get(spec.number, {}))
        engine.submit(self._study.with_files(submit.group, submit.files))

    def _train_ahead(self, engine: LocalEngine, command: TrainAhead) -> None:
        """Give the worker a fold of a trial of another slot; what a trial has left here before is of no use to it."""
        number = command.part.trial.number
        self._study.drop_trial(number)
        self._folders[number] = SentFolder(self._study.trial(number))
        (spec,) = self._study.with_files([command.part.trial], command.files)
        engine.train_ahead(FoldAhead(spec, command.part.fold))

    def _stop_ahead(self, engine: LocalEngine, number: int) -> None:
        waiting = self._waiting
        if isinstance(waiting, TrainAhead) and waiting.part.trial.number == number:
            self._waiting = None
            self._report(FoldLeft(number, waiting.part.fold))
        engine.stop_ahead(number)

    def _waiting_for_a_worker(self) -> set[int]:
        """Return the numbers of the trials that the worker gets when it has started again."""
        return {spec.number for spec in self._waiting.group} if isinstance(self._waiting, Submit) else set()

    def _reserve(self, number: int, fold: int) -> None:
        """Let the worker of a trial wait when it comes to a fold, unless it is at it already."""
        kept = ExitStack()
        with suppress(AlreadyLocked, DiskError):
            kept.enter_context(file_lock(self._study.trial(number).fold(fold).lock, blocking=False))
            self._reserved[number, fold] = kept

    def _settle(self, number: int, fold: int, files: Mapping[str, Shipment]) -> None:
        """Let the worker of a trial go on with what another slot has trained, if that was reserved."""
        kept = self._reserved.pop((number, fold), None)
        if kept is None:
            return
        with kept:
            waiting = self._waiting
            if isinstance(waiting, Submit) and number in self._waiting_for_a_worker():
                known = {**waiting.folders.get(number, {}), **files}
                self._waiting = replace(waiting, folders={**waiting.folders, number: known})
            else:
                self._folders[number].take(self._study.carrier, files)

    def _free(self, number: int) -> None:
        """Forget what was reserved for a trial whose worker is no longer at it."""
        for key in [key for key in self._reserved if key[0] == number]:
            self._reserved.pop(key).close()

    def _report(self, event: Event | Aside) -> None:
        self._reported += 1
        report = Report(self._reported, event)
        if isinstance(event, EpochFinished | TrialEnded) or self._is_trained(event):
            changed, present = self._folders[event.number].changes(self._study.carrier)
            report = replace(report, changed=changed, present=present)
        if isinstance(event, WorkerDied | SlotRetired):
            report = replace(report, log=self._printed())
        self._reports.append(report)
        if isinstance(event, TrialEnded | WorkerDied) and event.number is not None:
            self._free(event.number)
        if isinstance(event, TrialEnded | FoldLeft):
            self._folders.pop(event.number, None)
            self._study.drop_trial(event.number)

    def _is_trained(self, event: Event | Aside) -> TypeGuard[FoldLeft]:
        return isinstance(event, FoldLeft) and self._study.trial(event.number).fold(event.fold).outcome.exists()

    def _printed(self) -> str:
        """Return the end of what the worker has printed."""
        logs = sorted(self._study.folder.worker_logs.glob("*.log"))
        return logs[0].read_text(encoding="utf-8", errors="replace")[-LONGEST_LOG:] if logs else ""

    def close(self) -> None:
        """End the worker and remove what it has left here."""
        with self._lock:
            self._lease.end()
            if self._engine is not None:
                self._engine.close()
                self._study.drop()
