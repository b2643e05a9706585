"""The end of a slot on a node that has devices of its trials and not its worker: a Ray actor with their processes.

It gets the trials and their files from the driver, as the worker's node does, and the word to begin from the worker, by
a relay for each device (`rank_relay.py`). The driver may be gone without a word: as with a slot, a lease ends what
nobody asks after.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from functools import partial

from sweeper.engines.cluster.folders import SentFolder
from sweeper.engines.cluster.lease import Lease
from sweeper.engines.cluster.messages import Command, Meet, Plan, Submit
from sweeper.engines.cluster.on_node import Opened, StudyOnNode
from sweeper.engines.cluster.rank_relay import Numbered, Relay
from sweeper.engines.protocol import Spread, WorkerSetup
from sweeper.errors import SweeperError

CLOSED = -1
"""In place of a meeting: nobody is met any more."""


class RemoteRanks:
    """The devices of a slot on one node. All methods may be called at the same time."""

    def __init__(self, lease_s: float) -> None:
        self._lock = threading.Condition(threading.RLock())
        self._setup: WorkerSetup | None = None
        self._relays: list[Relay] = []
        self._trials: dict[int, Numbered] = {}
        self._applied = 0
        self._met = 0
        self._taken = 0  # the command that brought the latest trial that a relay has taken
        self._trouble: str | None = None
        self._lease = Lease(lease_s, self._lock, self.close)

    def open(self, plan: Plan, spread: Spread) -> Opened:
        """Prepare this node for a study, or say why that cannot be."""
        with self._lock:
            try:
                self._study = StudyOnNode(plan)
            except (SweeperError, OSError) as error:
                return Opened(platform.node(), str(error))
            self._lease.renew()
            self._spread = spread
            self._setup = WorkerSetup(
                sweep=self._study.sweep.model_dump_json(by_alias=True),
                root=str(self._study.workspace.root),
                folder=str(self._study.folder.path),
                slot=0,
                threads=plan.threads,
                workers=1,
                spread=spread,
            )
        return Opened(platform.node(), None)

    def exchange(self, commands: Sequence[tuple[int, Command]], wait_s: float) -> tuple[int, str | None]:
        """Take commands; return the number of the last one that was taken, and why this node is of no use, if so.

        Waits for at most `wait_s` for such a reason.
        """
        self.tell(commands)
        with self._lock:
            self._lock.wait_for(lambda: self._trouble is not None, wait_s)
            self._lease.renew()
            return self._applied, self._trouble

    def tell(self, commands: Sequence[tuple[int, Command]]) -> None:
        """Take commands in their order; each counts once, however often it comes."""
        with self._lock:
            self._lease.renew()
            for sequence, command in commands:
                if sequence == self._applied + 1 and self._setup is not None:
                    self._apply(self._setup, sequence, command)
                    self._applied = sequence
                    self._lease.renew()  # files may have taken long on their way

    def _apply(self, setup: WorkerSetup, sequence: int, command: Command) -> None:
        match command:
            case Meet(port):
                self._meet(setup, sequence, port)
            case Submit():
                try:
                    self._take(sequence, command)
                except (SweeperError, OSError) as error:
                    self._say(str(error))

    def _meet(self, setup: WorkerSetup, sequence: int, port: int) -> None:
        """Start the processes of this node's devices anew; they train what comes from now on."""
        self._met, after = sequence, self._taken  # a worker may have died with a trial that it had not begun
        self._end_relays()
        logs = self._study.folder.worker_logs
        logs.mkdir(parents=True, exist_ok=True)
        spread = self._spread
        for rank in range(spread.first, spread.first + spread.here):
            log = logs / f"rank-{rank}.log"
            trial = partial(self._trial, sequence)
            relay = Relay(setup, spread, rank, port, log, after=after, trial=trial, cannot_start=self._say)
            self._relays.append(relay)
            relay.start()

    def _trial(self, meeting: int, number: int, after: int) -> Numbered:
        """Return a trial once it has come by a later command than `after`.

        Raises EOFError for the relay of an earlier meeting, which waits in vain.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._met != meeting or self._trials.get(number, (0, None))[0] > after)
            if self._met != meeting:
                raise EOFError
            self._taken = max(self._taken, self._trials[number][0])
            return self._trials[number]

    def _take(self, sequence: int, submit: Submit) -> None:
        """Write what trials begin with. Raises OtherImages, ArrivedDamaged, DiskError."""
        self._study.check_images()
        for number in self._trials:  # a slot has one trial at a time
            self._study.drop_trial(number)
        self._trials.clear()
        for spec in self._study.with_files(submit.group, submit.files):
            self._study.drop_trial(spec.number)
            folder = SentFolder(self._study.trial(spec.number))
            folder.take(self._study.carrier, submit.folders.get(spec.number, {}))
            self._trials[spec.number] = sequence, spec.with_weights()
        self._lock.notify_all()

    def _say(self, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble
            self._lock.notify_all()

    def _end_relays(self) -> None:
        for relay in self._relays:
            relay.stop()
        self._relays = []
        self._lock.notify_all()

    def close(self) -> None:
        """End the processes and remove what they have left here."""
        with self._lock:
            self._lease.end()
            self._met = CLOSED
            self._end_relays()
            if self._setup is not None:
                self._study.drop()
