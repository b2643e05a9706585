"""The processes that a worker has beside it for trials on several devices: started, given trials, watched.

The worker is the first rank (`training/ranks.py`). It starts a process for each further device, and keeps them between
trials. All of them end together: where one is gone, or has failed where the worker has not, the worker ends in the same
way, and the engine's next one goes on with the trial from its checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, NoReturn

from sweeper.child_process import SIGKILL
from sweeper.engines.protocol import CANNOT_START_EXIT, OUT_OF_MEMORY_EXIT, WorkerSetup
from sweeper.engines.reason import print_reason
from sweeper.errors import RankLost
from sweeper.results import TrialOutcome, TrialSpec, TrialState

if TYPE_CHECKING:
    import torch

    from sweeper.training.ranks import Ranks

GRACE_S = 5.0
"""After another rank has failed, a worker has this long to end the trial by itself, with its own account of it."""

END_S = 2.0
"""An idle process that is to end has this long to do so."""


@dataclass(frozen=True)
class RankSetup:
    """What the process of a further rank knows for its whole life."""

    worker: WorkerSetup
    rank: int
    port: int


@dataclass(frozen=True)
class RankFailed:
    """A further rank has ended a trial in a way in which none should end alone."""

    reason: str
    for_memory: bool


@dataclass(frozen=True)
class RankProcess:
    """The process of a further rank, and the pipe to it."""

    rank: int
    process: subprocess.Popen[bytes]
    connection: Connection


class OtherRanks:
    """The processes of all ranks but the first, which this one is.

    Args:
        setup: Of this worker.
        count: How many ranks there are; of one alone nothing is started.
        device: Of this worker.

    Attributes:
        ranks: All of them, as the first one sees them.
    """

    ranks: Ranks

    def __init__(self, setup: WorkerSetup, count: int, device: torch.device):
        from sweeper.training.ranks import ALONE

        self.ranks = ALONE
        self._setup, self._count, self._device = setup, count, device
        self._processes: list[RankProcess] = []
        self._released = threading.Event()
        if count > 1:
            self._start()

    def _start(self) -> None:
        from sweeper.training.ranks import join, new_store

        store = new_store()
        self._released = threading.Event()
        self._processes = [_start_rank(RankSetup(self._setup, rank, store.port)) for rank in range(1, self._count)]
        watched = (self._processes, self._released)
        threading.Thread(target=_watch, args=watched, daemon=True, name="other-ranks").start()
        try:
            self.ranks = join(0, self._count, self._device, store)
        except RankLost as error:
            self._end_with_them(error)

    def train(self, spec: TrialSpec, here: Callable[[Ranks], TrialOutcome]) -> TrialOutcome:
        """Train a trial on all ranks; `here` does so on this one.

        Where it does not come to its end, nobody knows where the others stand: they are then started anew.
        """
        for other in self._processes:
            with suppress(ConnectionError):  # it is gone, and this worker is about to be
                other.connection.send(spec)
        try:
            outcome = here(self.ranks)
        except RankLost as error:
            self._end_with_them(error)
        except BaseException:
            self._restart()
            raise
        if outcome.state is TrialState.FAILED or not outcome.feasible:
            self._restart()
        return outcome

    def _restart(self) -> None:
        if self._processes:
            self._release(at_once=True)
            self._start()

    def close(self) -> None:
        """Let the others end."""
        if self._processes:
            self._release(at_once=False)

    def _release(self, *, at_once: bool) -> None:
        from sweeper.training.ranks import leave_ranks

        self._released.set()
        for other in self._processes:
            if at_once:
                other.process.kill()
            with suppress(ConnectionError):
                other.connection.send(None)
        for other in self._processes:
            with suppress(subprocess.TimeoutExpired):
                other.process.wait(END_S)
            other.process.kill()
            other.process.wait()
            other.connection.close()
        leave_ranks()

    def _end_with_them(self, error: RankLost) -> NoReturn:
        """End this worker after a rank was lost, in the way in which that one ended."""
        deadline = time.monotonic() + GRACE_S
        while not error.for_memory and time.monotonic() < deadline:
            for other in self._processes:
                if other.process.poll() is not None:
                    _end_like(other)
            time.sleep(0.05)
        _end(OUT_OF_MEMORY_EXIT if error.for_memory else 1, str(error))


def _start_rank(setup: RankSetup) -> RankProcess:
    pipe: tuple[Any, Any] = Pipe()
    ours, theirs = pipe
    handle = theirs.fileno()
    command = [sys.executable, "-m", "sweeper.engines.rank", str(handle), str(os.getpid())]
    path = os.pathsep.join(filter(None, sys.path))  # it is to find what this process finds
    process = subprocess.Popen(command, pass_fds=[handle], env={**os.environ, "PYTHONPATH": path})
    theirs.close()
    ours.send(setup)
    return RankProcess(setup.rank, process, ours)


def _watch(others: Sequence[RankProcess], released: threading.Event) -> None:
    """End this worker once another rank has failed or is gone, unless it ends the trial by itself."""
    ready = wait([other.connection for other in others])
    failed = next(other for other in others if other.connection in ready)
    try:
        found: RankFailed | None = failed.connection.recv()
    except (EOFError, OSError):
        found = None
    if released.wait(GRACE_S):
        return
    if found is None:
        _end_like(failed)
    _end(OUT_OF_MEMORY_EXIT if found.for_memory else 1, f"device {failed.rank + 1} of the trial: {found.reason}")


def _end_like(other: RankProcess) -> NoReturn:
    """End this process as another rank's has ended: by the same signal, which the driver judges, or the same code."""
    with suppress(subprocess.TimeoutExpired):
        other.process.wait(END_S)
    code = other.process.poll()
    if code is not None and code < 0:
        if -code != SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code in (CANNOT_START_EXIT, OUT_OF_MEMORY_EXIT):
        os._exit(code)  # it has said why
    _end(1, f"the process of device {other.rank + 1} of the trial ended with exit code {code}")


def _end(code: int, why: str) -> NoReturn:
    """End at once: another thread may wait in vain for a rank that is gone."""
    print_reason(why)
    os._exit(code)
