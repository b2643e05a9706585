"""What a worker has beside it for trials on several devices: a process for each, started, given trials, watched.

The worker is the first rank (`training/ranks.py`). It starts a process for each further device of this machine, waits
for those of other machines (`distant_ranks.py`), and keeps them between trials. All of them end together: where one is
gone, or has failed where the worker has not, the worker ends in the same way, and the engine's next one goes on with
the trial from its checkpoint.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, NoReturn, Protocol

from sweeper.child_process import SIGKILL
from sweeper.engines.distant_ranks import await_ranks
from sweeper.engines.protocol import (
    CANNOT_START_EXIT,
    OUT_OF_MEMORY_EXIT,
    RANK_LOST_EXIT,
    RanksAwaited,
    RanksUnmet,
    WorkerSetup,
)
from sweeper.engines.rank_process import END_S, Meeting, RankFailed, RankProcess, RankSetup
from sweeper.engines.reason import print_reason
from sweeper.errors import RankLost
from sweeper.results import TrialOutcome, TrialSpec, TrialState

if TYPE_CHECKING:
    import torch

    from sweeper.training.ranks import Ranks

OfRanks = RanksAwaited | RanksUnmet

GRACE_S = 5.0
"""After another rank has failed, a worker has this long to end the trial by itself, with its own account of it."""


class OtherRank(Protocol):
    """The process of another rank, here or on another machine (`RankProcess`, `DistantRank`)."""

    rank: int
    connection: Connection
    said: str

    def hear(self) -> RankFailed | None: ...

    def exit_code(self, within_s: float = 0.0) -> int | None: ...

    def ask_to_end(self) -> None: ...

    def kill(self) -> None: ...

    def end(self) -> None: ...


class OtherRanks:
    """The processes of all ranks but the first, which this one is.

    Args:
        setup: Of this worker.
        count: How many ranks there are; of one alone nothing is started.
        device: Of this worker.
        tell: Gets the port at which ranks on other machines are awaited, and which of them have not called.

    Attributes:
        ranks: All of them, as the first one sees them.
    """

    ranks: Ranks

    def __init__(self, setup: WorkerSetup, count: int, device: torch.device, tell: Callable[[OfRanks], None]):
        from sweeper.training.ranks import ALONE

        self.ranks = ALONE
        self._setup, self._count, self._device, self._tell = setup, count, device, tell
        self._others: Sequence[OtherRank] = ()
        self._released = threading.Event()
        if count > 1:
            self._start()

    def _start(self) -> None:
        from sweeper.training.ranks import LOOPBACK, join, new_store

        spread = self._setup.spread
        address = spread.address if spread else LOOPBACK
        try:
            store = new_store(address)
            self._others = self._started(Meeting(address, store.port))
            self._watch()
            self.ranks = join(0, self._count, self._device, store, address)
        except RankLost as error:
            if error.unmet:
                self._tell(RanksUnmet(error.unmet, str(error)))
            self._end_with_them(error)

    def _started(self, meeting: Meeting) -> list[OtherRank]:
        """Return the processes of the others, which know where to meet. Raises RankLost."""
        spread = self._setup.spread
        here = range(1, spread.here if spread else self._count)
        others: list[OtherRank] = [RankProcess(RankSetup(self._setup, rank, meeting)) for rank in here]
        if spread is not None:
            distant = await_ranks(spread, range(spread.here, self._count), lambda port: self._tell(RanksAwaited(port)))
            for other in distant:
                with suppress(ConnectionError):  # it will be noticed
                    other.connection.send(meeting)
            others += distant
        return others

    def _watch(self) -> None:
        self._released = threading.Event()
        watched = (self._others, self._released, self._lost_exit)
        self._watcher = threading.Thread(target=_watch, args=watched, daemon=True, name="other-ranks")
        self._watcher.start()

    def train(self, spec: TrialSpec, here: Callable[[Ranks], TrialOutcome]) -> TrialOutcome:
        """Train a trial on all ranks; `here` does so on this one.

        Where it does not come to its end, nobody knows where the others stand: they are then started anew.
        """
        for other in self._others:
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
        if self._others:
            self._release(at_once=True)
            self._start()

    def close(self) -> None:
        """Let the others end."""
        if self._others:
            self._release(at_once=False)

    def _release(self, *, at_once: bool) -> None:
        from sweeper.training.ranks import leave_ranks

        self._released.set()
        for other in self._others:
            if at_once:
                other.kill()
            other.ask_to_end()
        for other in self._others:
            other.end()
        self._watcher.join()  # it waits for their connections
        for other in self._others:
            other.connection.close()
        self._others = ()
        leave_ranks()

    @property
    def _lost_exit(self) -> int:
        """The code by which this worker ends where none says why a rank is lost: between nodes no trial is to blame."""
        return 1 if self._setup.spread is None else RANK_LOST_EXIT

    def _end_with_them(self, error: RankLost) -> NoReturn:
        """End this worker after a rank was lost, in the way in which that one ended."""
        deadline = time.monotonic() + GRACE_S
        while not error.for_memory and time.monotonic() < deadline:
            if (cause := _cause(self._others)) is not None:
                _end_like(cause, self._lost_exit)
            time.sleep(0.05)
        _end(OUT_OF_MEMORY_EXIT if error.for_memory else self._lost_exit, _account(self._others) or str(error))


def _watch(others: Sequence[OtherRank], released: threading.Event, lost_exit: int) -> None:
    """End this worker once another rank has failed or is gone, unless it ends the trial by itself."""
    ready = wait([other.connection for other in others])
    failed = next(other for other in others if other.connection in ready)
    found = failed.hear()
    if released.wait(GRACE_S):
        return
    if found is None:
        _end_like(_cause(others) or failed, lost_exit, _account(others))
    _end(OUT_OF_MEMORY_EXIT if found.for_memory else 1, f"device {failed.rank + 1} of the trial: {found.reason}")


def _cause(others: Sequence[OtherRank]) -> OtherRank | None:
    """Return a rank that has ended, and not because it has lost another one."""
    return next((other for other in others if other.exit_code() not in (None, RANK_LOST_EXIT)), None)


def _account(others: Sequence[OtherRank]) -> str:
    """Return what is known of a rank that is lost, or nothing."""
    return next((other.said for other in others if other.exit_code() == RANK_LOST_EXIT and other.said), "")


def _end_like(other: OtherRank, lost_exit: int, account: str = "") -> NoReturn:
    """End this process as another rank's has ended: by the same signal, which the driver judges, or the same code."""
    code = other.exit_code(END_S)
    if code == RANK_LOST_EXIT:
        _end(lost_exit, account or f"device {other.rank + 1} of the trial can no longer reach another one")
    if other.said:
        print_reason(other.said)
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
