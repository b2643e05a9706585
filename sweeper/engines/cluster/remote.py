"""The node's end of a slot: a Ray actor with one worker of the local engine beside it.

The worker is a process of its own, so that what kills it (a crash in compiled code, memory) leaves the actor alive to
say so. The driver may be gone without anyone saying so: it calls at least every few seconds, and when no call has come
for the time of the lease, the actor ends its worker and itself. Until then the driver gives its trials to nobody.
"""

from __future__ import annotations

import platform
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from sweeper.engines.cluster.folders import SentFolder
from sweeper.engines.cluster.lease import Lease
from sweeper.engines.cluster.messages import Answer, Command, GiveUp, Plan, Report, Submit
from sweeper.engines.cluster.on_node import Opened, StudyOnNode
from sweeper.engines.local import LocalEngine
from sweeper.engines.protocol import (
    EpochFinished,
    Event,
    RanksAwaited,
    RanksUnmet,
    SlotRetired,
    TrialEnded,
    WorkerDied,
)
from sweeper.errors import SweeperError

LONGEST_LOG = 20_000  # characters of it that are sent


class RemoteSlot:
    """One slot on a node. All methods may be called at the same time; those that change something hold its lock."""

    def __init__(self, lease_s: float) -> None:
        self._lock = threading.RLock()
        self._engine: LocalEngine | None = None
        self._reports: deque[Report] = deque()
        self._reported = 0
        self._applied = 0
        self._waiting: Submit | None = None
        self._folders: dict[int, SentFolder] = {}
        self._anew = False
        self._lease = Lease(lease_s, self._lock, self.close)

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
            spread=plan.spread,
            of_ranks=self._report,
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

    def _apply(self, engine: LocalEngine, command: Command) -> None:
        match command:
            case Submit():
                self._waiting = command
                self._hand_over(engine)
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
        for spec in submit.group:
            if self._anew:
                self._study.drop_trial(spec.number)
            self._folders[spec.number] = SentFolder(self._study.trial(spec.number))
            self._folders[spec.number].take(self._study.carrier, submit.folders.get(spec.number, {}))
        engine.submit(self._study.with_files(submit))

    def _report(self, event: Event | RanksAwaited | RanksUnmet) -> None:
        self._reported += 1
        report = Report(self._reported, event)
        if isinstance(event, EpochFinished | TrialEnded):
            changed, present = self._folders[event.number].changes(self._study.carrier)
            report = replace(report, changed=changed, present=present)
        if isinstance(event, WorkerDied | SlotRetired):
            report = replace(report, log=self._printed())
        self._reports.append(report)
        if isinstance(event, TrialEnded):
            del self._folders[event.number]
            self._study.drop_trial(event.number)

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
