"""Worker processes on this machine, kept warm between trials."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from sweeper.child_process import start_prepared
from sweeper.config.sweep import SweepConfig
from sweeper.engines.oom_kills import count_oom_kills
from sweeper.engines.packing import Packing
from sweeper.engines.protocol import (
    OUT_OF_MEMORY_EXIT,
    DiskTrouble,
    EpochFinished,
    Event,
    TrialEnded,
    WorkerDied,
    WorkerReady,
    WorkerSetup,
)
from sweeper.engines.worker import worker_main
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialSpec

MOST_WORKERS = 32
PATIENCE_S = 2.0  # with an idle worker that is to end


@dataclass
class Slot:
    """A worker process, the pipe to it and the trials it is on."""

    process: BaseProcess
    connection: Connection
    log: Path
    ready: bool = False
    numbers: list[int] = field(default_factory=list)

    @property
    def idle(self) -> bool:
        return self.ready and not self.numbers


class LocalEngine:
    """One process for each slot; a process that dies is replaced.

    Args:
        sweep, workspace: What is run, and where.
        workers: How many slots; None for as many as the device has room for, found out while trials run.
        folder: Where the folders of the trials lie, by default that of the study.
        threads: Threads of each worker, by default its share of the cores.
        oom_kills: The kernel's count of processes it has killed for memory.
    """

    def __init__(
        self,
        sweep: SweepConfig,
        workspace: Workspace,
        workers: int | None,
        *,
        folder: StudyFolder | None = None,
        threads: int | None = None,
        oom_kills: Callable[[], int | None] = count_oom_kills,
    ):
        self._sweep = sweep
        self._workspace = workspace
        self._folder = folder or workspace.study(sweep.study)
        cores = os.cpu_count() or 1
        most = workers or min(cores, MOST_WORKERS)
        # Workers share the cores evenly; with one worker the framework's own choice stands.
        self._threads = threads or (max(1, cores // most) if most > 1 else 0)
        self._packing = Packing(most) if workers is None else None
        self._oom_kills = oom_kills
        self._known_oom_kills = oom_kills() or 0
        self._slots = [self._start(slot) for slot in range(workers or 1)]

    def _start(self, slot: int) -> Slot:
        ours, theirs = multiprocessing.Pipe()
        setup = WorkerSetup(
            sweep=self._sweep.model_dump_json(by_alias=True),
            root=str(self._workspace.root),
            folder=str(self._folder.path),
            slot=slot,
            threads=self._threads,
            shares_device=self._packing is not None,
        )
        log = self._folder.worker_logs / f"worker-{slot}.log"
        process = start_prepared(worker_main, (theirs, setup, log), f"sweeper-worker-{slot}")
        theirs.close()
        return Slot(process, ours, log)

    @property
    def idle(self) -> int:
        free = sum(slot.idle for slot in self._slots)
        busy = sum(bool(slot.numbers) for slot in self._slots)
        return free if self._packing is None else max(0, min(free, self._packing.trials - busy))

    def submit(self, group: Sequence[TrialSpec]) -> None:
        slot = next(slot for slot in self._slots if slot.idle)
        slot.numbers = [spec.number for spec in group]
        with contextlib.suppress(ConnectionError):  # it died while idle; `events` will say so
            slot.connection.send(tuple(group))

    def events(self, timeout_s: float) -> Iterator[Event]:
        ready = wait([slot.connection for slot in self._slots], timeout_s)
        for index, slot in enumerate(self._slots):
            if slot.connection in ready:
                yield from self._receive(index)

    def _receive(self, index: int) -> list[Event]:
        slot = self._slots[index]
        try:
            event: WorkerReady | EpochFinished | TrialEnded | DiskTrouble = slot.connection.recv()
        except (EOFError, ConnectionError):
            return self._replace(index)
        slot.ready = True
        if isinstance(event, TrialEnded):
            slot.numbers.remove(event.number)
        if self._packing is not None:
            self._pack(self._packing, event)
        return [event]

    def _pack(self, packing: Packing, event: Event) -> None:
        """Learn from an event how many trials have room, and start workers for them."""
        if isinstance(event, WorkerReady):
            packing.worker_ready(event.room)
        elif isinstance(event, EpochFinished):
            packing.epoch_finished(event.metrics.values["memory/peak_mb"])
        while len(self._slots) < packing.trials:
            self._slots.append(self._start(len(self._slots)))

    def _replace(self, index: int) -> list[Event]:
        """Start a new worker in place of a dead one."""
        slot = self._slots[index]
        slot.process.join()
        slot.connection.close()
        exitcode = slot.process.exitcode
        for_memory = exitcode == OUT_OF_MEMORY_EXIT or (exitcode == -signal.SIGKILL and self._kernel_has_killed())
        self._slots[index] = self._start(index)
        reason = how_it_ended(exitcode, slot.log, for_memory=for_memory)
        return [WorkerDied(number, reason, for_memory) for number in (slot.numbers or (None,))]

    def _kernel_has_killed(self) -> bool:
        """Tell whether the kernel has killed for memory once more than we know of; that kill is then accounted for."""
        risen = (self._oom_kills() or 0) > self._known_oom_kills
        self._known_oom_kills += risen
        return risen

    def answer(self, number: int, *, prune: bool) -> None:
        slot = next(slot for slot in self._slots if number in slot.numbers)
        with contextlib.suppress(ConnectionError):
            slot.connection.send(prune)

    def close(self) -> None:
        """End the workers: an idle one by itself, which tidies up after libraries, any other at once."""
        idle = [slot for slot in self._slots if slot.idle]
        for slot in idle:
            with contextlib.suppress(ConnectionError):  # it died
                slot.connection.send(None)
        for slot in self._slots:
            if slot not in idle:
                slot.process.kill()
        deadline = time.monotonic() + PATIENCE_S
        for slot in idle:
            slot.process.join(max(0.0, deadline - time.monotonic()))
            slot.process.kill()
        for slot in self._slots:
            slot.process.join()
            slot.connection.close()


def how_it_ended(exitcode: int | None, log: Path, *, for_memory: bool = False) -> str:
    """Say in words how a process ended: the signal, or the last line it printed."""
    if exitcode == OUT_OF_MEMORY_EXIT:
        return "its worker was refused memory and could not go on"
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = ", most likely by the kernel for want of memory" if for_memory else ""
        return f"its worker was killed by {name}{hint}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = f": {lines[-1]}" if lines else ""
    return f"its worker ended with exit code {exitcode}{said}"
