"""Worker processes on this machine, kept warm between trials."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from sweeper.allowance import is_throttled, usable_cores
from sweeper.child_process import SIGKILL, start_prepared
from sweeper.config.sweep import SweepConfig
from sweeper.engines.oom_kills import count_oom_kills
from sweeper.engines.packing import Packing
from sweeper.engines.protocol import (
    CANNOT_START_EXIT,
    OUT_OF_MEMORY_EXIT,
    RANK_LOST_EXIT,
    Aside,
    DevicesSeen,
    EpochFinished,
    Event,
    FoldAhead,
    FoldLeft,
    RanksAwaited,
    RanksUnmet,
    SlotRetired,
    Spread,
    TrialEnded,
    WorkerDied,
    WorkerReady,
    WorkerSetup,
)
from sweeper.engines.reason import last_line
from sweeper.engines.worker import worker_main
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialSpec
from sweeper.safeguards.quantity import quantity

logger = logging.getLogger(__name__)

MOST_WORKERS = 32
CRASHES = {"SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL"}
MAX_FAILED_STARTS = 3  # of a slot, one after the other
PATIENCE_S = 2.0  # with an idle worker that is to end


@dataclass
class Slot:
    """A worker process, the pipe to it, and what it trains: its trials, or a fold of another worker's trial."""

    process: BaseProcess
    connection: Connection
    log: Path
    number: int
    device: int
    workers: int | Literal["auto"] | None
    failed_starts: int = 0
    ready: bool = False
    given_up: str = ""
    numbers: list[int] = field(default_factory=list)
    ahead: FoldAhead | None = None  # a fold of another worker's trial, which it trains

    @property
    def busy(self) -> bool:
        return bool(self.numbers) or self.ahead is not None

    @property
    def idle(self) -> bool:
        return self.ready and not self.busy


class LocalEngine:
    """One process for each slot; a process that dies is replaced.

    Args:
        sweep, workspace: What is run, and where.
        workers: How many slots; `auto` for as many as the devices have room for, found out while trials run; None for
            one on each device.
        folder: Where the folders of the trials lie, by default that of the study.
        threads: Threads of each worker, by default its share of the cores.
        oom_kills: The kernel's count of processes it has killed for memory.
        alone: Whether none but these workers use the devices.
        spread: Where the devices of a trial are, if not all on this machine.
        aside: Gets what is no event of the engine: on trials' devices on other machines, and on folds trained ahead.
    """

    def __init__(
        self,
        sweep: SweepConfig,
        workspace: Workspace,
        workers: int | Literal["auto"] | None = None,
        *,
        folder: StudyFolder | None = None,
        threads: int | None = None,
        alone: bool = True,
        oom_kills: Callable[[], int | None] = count_oom_kills,
        spread: Spread | None = None,
        aside: Callable[[Aside], None] = lambda _: None,
    ):
        self._sweep = sweep
        self._workspace = workspace
        self._folder = folder or workspace.study(sweep.study)
        most = min(usable_cores(), MOST_WORKERS) if workers == "auto" else workers or 1
        self._threads = threads or share_of_cores(most)
        self._workers, self._alone = workers, alone
        self._spread, self._aside = spread, aside
        self._packing = None
        if not isinstance(workers, int):
            self._packing = Packing(most) if workers == "auto" else Packing(MOST_WORKERS, each=1)
        self._oom_kills = oom_kills
        self._known_oom_kills = oom_kills() or 0
        self._slots = [self._start(slot, slot) for slot in range(workers if isinstance(workers, int) else 1)]
        self._leaving: list[Slot] = []

    def _start(self, number: int, device: int, failed_starts: int = 0) -> Slot:
        pipe: tuple[Any, Any] = multiprocessing.Pipe()
        ours, theirs = pipe
        setup = WorkerSetup(
            sweep=self._sweep.model_dump_json(by_alias=True),
            root=str(self._workspace.root),
            folder=str(self._folder.path),
            slot=number,
            threads=self._threads,
            device=device,
            workers=None if self._workers == "auto" or not self._alone else self._workers or 1,
            spread=self._spread,
        )
        log = self._folder.worker_logs / f"worker-{number}.log"
        process = start_prepared(worker_main, (theirs, setup, log), f"sweeper-worker-{number}")
        theirs.close()
        logger.info("worker %d started on device %d, process %s; it prints to %s", number, device, process.pid, log)
        return Slot(process, ours, log, number, device, self._workers, failed_starts)

    @property
    def idle(self) -> int:
        return len(self._open_slots())

    def _open_slots(self) -> list[Slot]:
        """Return the slots that may take a trial now: no more on a device than have room there."""
        free = [slot for slot in self._slots if slot.idle]
        if self._packing is None:
            return free
        busy = Counter(slot.device for slot in self._slots if slot.busy)
        found: list[Slot] = []
        for slot in free:
            if busy[slot.device] < self._packing.on(slot.device) and busy.total() < self._packing.trials:
                busy[slot.device] += 1
                found.append(slot)
        return found

    def submit(self, group: Sequence[TrialSpec]) -> None:
        slot = self._open_slots()[0]
        slot.numbers = [spec.number for spec in group]
        with contextlib.suppress(ConnectionError):  # it died while idle; `events` will say so
            slot.connection.send(tuple(group))

    def train_ahead(self, part: FoldAhead) -> bool:
        slot = self._open_slots()[0]
        slot.ahead = part
        with contextlib.suppress(ConnectionError):  # it died while idle
            slot.connection.send(part)
        return True

    def stop_ahead(self, number: int) -> None:
        """End the workers that train folds of a trial that has ended or has lost its worker."""
        for slot in self._slots:
            if slot.ahead is not None and slot.ahead.trial.number == number:
                slot.given_up = "the trial of its fold is no longer trained"
                slot.process.kill()
                slot.process.join()  # from now on nothing is written into the trial's folder

    @property
    def busy(self) -> set[int]:
        """The numbers of the trials that workers are on."""
        return {number for slot in self._slots for number in slot.numbers}

    def wait(self, timeout_s: float) -> None:
        """Wait at most this long until `events` has something; another thread may give answers meanwhile."""
        wait([slot.connection for slot in self._slots], timeout_s)

    def events(self, timeout_s: float) -> Iterator[Event]:
        ready = wait([slot.connection for slot in self._slots], timeout_s)
        for slot in list(self._slots):
            if slot.connection in ready:
                yield from self._receive(slot)

    def _receive(self, slot: Slot) -> list[Event]:
        try:
            event: Event | DevicesSeen | Aside = slot.connection.recv()
        except (EOFError, ConnectionError):
            return self._replace(slot)
        if isinstance(event, RanksAwaited | RanksUnmet):
            self._aside(event)
            return []
        if isinstance(event, DevicesSeen):
            if self._packing is not None:
                self._packing.devices_seen(event.count)
                self._fill(self._packing)
            return []
        slot.ready, slot.failed_starts = True, 0
        if isinstance(event, FoldLeft):
            if not slot.given_up:  # else it takes nothing more, and its end tells of the fold
                self._leave_fold(slot)
        elif isinstance(event, TrialEnded):
            slot.numbers.remove(event.number)
            self.stop_ahead(event.number)
        if self._packing is not None and not isinstance(event, FoldLeft):
            self._pack(self._packing, slot, event)
        if slot.idle and slot.workers != self._workers:
            self._let_go(slot)
        return [] if isinstance(event, FoldLeft) else [event]

    def _leave_fold(self, slot: Slot) -> None:
        if slot.ahead is not None:
            self._aside(FoldLeft(slot.ahead.trial.number, slot.ahead.fold))
        slot.ahead = None

    def resize(self, workers: int) -> None:
        self._workers, self._packing = workers, None
        self._threads = share_of_cores(workers)
        taken = {slot.number for slot in self._slots}
        for number in [number for number in range(workers) if number not in taken][: max(0, workers - len(taken))]:
            self._slots.append(self._start(number, number))
        for slot in [slot for slot in reversed(self._slots) if not slot.busy and slot.workers != workers]:
            self._let_go(slot)

    @property
    def _too_many(self) -> bool:
        return isinstance(self._workers, int) and len(self._slots) > self._workers

    def _let_go(self, slot: Slot) -> None:
        """End a worker that is on no trial; unless it was one too many, another starts with its share of the cores."""
        self._leaving.append(slot)
        ask_to_end(slot)
        if self._too_many:
            self._slots.remove(slot)
        else:
            self._slots[self._slots.index(slot)] = self._start(slot.number, slot.device)

    def _pack(self, packing: Packing, slot: Slot, event: Event) -> None:
        """Learn from an event how many trials have room, and start workers for them."""
        if isinstance(event, WorkerReady):
            packing.worker_ready(slot.device, event.room)
        elif isinstance(event, EpochFinished):
            packing.epoch_finished(event.metrics.values["memory/peak_mb"])
        self._fill(packing)

    def _fill(self, packing: Packing) -> None:
        while (device := packing.next_device(slot.device for slot in self._slots)) is not None:
            number = 1 + max((slot.number for slot in self._slots), default=-1)
            self._slots.append(self._start(number, device))

    def _replace(self, slot: Slot) -> list[Event]:
        """Start a new worker in place of a dead one, unless too many have died there before they were ready."""
        slot.process.join()
        slot.connection.close()
        for number in slot.numbers:
            self.stop_ahead(number)
        exitcode = slot.process.exitcode
        for_memory = exitcode == OUT_OF_MEMORY_EXIT or (exitcode == -SIGKILL and self._kernel_has_killed())
        for_memory = for_memory and not slot.given_up
        reason = slot.given_up or how_it_ended(exitcode, slot.log, for_memory=for_memory)
        fewer = self._fewer_at_once(slot) if for_memory else 0
        if fewer:  # the trial may be small: the others took the memory
            reason = f"{reason}; from now on at most {quantity(fewer, 'trial')} at once on its device"
            for_memory = False
        blameless = (exitcode == RANK_LOST_EXIT and not slot.given_up) or fewer > 0
        numbers = () if slot.ahead is not None else slot.numbers or (None,)
        died: list[Event] = [WorkerDied(number, reason, for_memory, blameless) for number in numbers]
        if slot.ahead is not None and not slot.given_up:
            logger.warning("a fold of trial %d is not trained ahead: %s", slot.ahead.trial.number, reason)
        self._leave_fold(slot)
        if self._too_many or fewer:
            self._slots.remove(slot)
            return died
        failed = 0 if slot.ready else slot.failed_starts + 1
        if failed == MAX_FAILED_STARTS:
            return [*died, self._retire(slot, reason, ranks_lost=blameless)]
        self._slots[self._slots.index(slot)] = self._start(slot.number, slot.device, failed)
        return died

    def _fewer_at_once(self, slot: Slot) -> int:
        """Let no more trials than the others run on a device where memory ran out, and return how many that are.

        0 where the worker's was the only trial there, or their number was not chosen by the room there seemed to be.
        """
        if self._packing is None or self._packing.each is not None:
            return 0
        others = sum(other.busy for other in self._slots if other is not slot and other.device == slot.device)
        fewer = min(others, self._packing.on(slot.device))
        if fewer:
            self._packing.at_most(slot.device, fewer)
        return fewer

    def _retire(self, slot: Slot, reason: str, *, ranks_lost: bool) -> SlotRetired:
        """Go on without a slot, and with no more workers on its device than are left there."""
        self._slots.remove(slot)
        if self._packing is not None:
            self._packing.at_most(slot.device, sum(other.device == slot.device for other in self._slots))
            self._fill(self._packing)
        return SlotRetired(reason, len(self._slots), ranks_lost)

    def _kernel_has_killed(self) -> bool:
        """Return whether the kernel has killed for memory once more than we know of; that kill is then counted."""
        risen = (self._oom_kills() or 0) > self._known_oom_kills
        self._known_oom_kills += risen
        return risen

    def answer(self, number: int, *, prune: bool) -> None:
        slot = next(slot for slot in self._slots if number in slot.numbers)
        with contextlib.suppress(ConnectionError):
            slot.connection.send(prune)

    def give_up(self, number: int, reason: str) -> None:
        self.stop_ahead(number)  # it may be these that the trial waits for
        slot = next(slot for slot in self._slots if number in slot.numbers)
        slot.given_up = reason
        slot.process.kill()  # which reaches a stopped process too

    def close(self) -> None:
        """End the workers: an idle one by itself, which tidies up after libraries, any other at once."""
        slots = [*self._slots, *self._leaving]
        for slot in slots:
            ask_to_end(slot)
        deadline = time.monotonic() + PATIENCE_S
        for slot in slots:
            slot.process.join(max(0.0, deadline - time.monotonic()))
            slot.process.kill()
        for slot in slots:
            slot.process.join()
            slot.connection.close()


def share_of_cores(workers: int) -> int:
    """Return how many threads each worker has: an even share, or 0, the framework's own choice, for one alone.

    The framework counts the cores that it sees; a control group may give this process less than all of their time.
    """
    return max(1, usable_cores() // workers) if workers > 1 or is_throttled() else 0


def ask_to_end(slot: Slot) -> None:
    """Let an idle worker end by itself, which tidies up after libraries; end any other at once."""
    if not slot.idle:
        slot.process.kill()
        return
    with contextlib.suppress(ConnectionError):  # it died
        slot.connection.send(None)


def how_it_ended(exitcode: int | None, log: Path, *, for_memory: bool = False) -> str:
    """Say in words how a process ended: the signal, or the last line it printed."""
    if exitcode == OUT_OF_MEMORY_EXIT:
        return "its worker was refused memory and could not go on"
    if exitcode in (CANNOT_START_EXIT, RANK_LOST_EXIT):
        return last_line(log)
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        if name in CRASHES:
            return f"its worker crashed ({name}): a fault in compiled code, of torch or a library below it"
        hint = ", most likely by the kernel because memory ran out" if for_memory else ""
        return f"its worker was killed by {name}{hint}"
    said = last_line(log)
    return f"its worker ended with exit code {exitcode}{said and ': '}{said}"
