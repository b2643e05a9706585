"""The process of a further device of a trial: started with a pipe to it, and how it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sweeper.engines.protocol import WorkerSetup

END_S = 2.0
"""A process that is to end has this long to do so."""


@dataclass(frozen=True)
class Meeting:
    """Where ranks find each other: the store that the first one keeps, on its machine."""

    host: str
    port: int


@dataclass(frozen=True)
class RankSetup:
    """What the process of a further rank knows for its whole life."""

    worker: WorkerSetup
    rank: int
    meeting: Meeting


@dataclass(frozen=True)
class RankFailed:
    """A further rank has ended a trial in a way in which none should end alone."""

    reason: str
    for_memory: bool


class RankProcess:
    """The process of a further rank on this machine.

    Args:
        setup: What it knows.
        log: Where it prints; by default where this process does.

    Attributes:
        rank: Its number.
        connection: Takes trials, and None to end; gives RankFailed.
    """

    said = ""  # what it had to say stands in the log of the worker

    def __init__(self, setup: RankSetup, log: Path | None = None):
        self.rank = setup.rank
        pipe: tuple[Any, Any] = Pipe()
        ours, theirs = pipe
        handle = theirs.fileno()
        command = [sys.executable, "-m", "sweeper.engines.rank", str(handle), str(os.getpid())]
        path = os.pathsep.join(filter(None, sys.path))  # it is to find what this process finds
        with log.open("ab") if log else nullcontext() as printed:
            self._process = subprocess.Popen(
                command,
                pass_fds=[handle],
                env={**os.environ, "PYTHONPATH": path},
                stdout=printed,
                stderr=printed,
            )
        theirs.close()
        ours.send(setup)
        self.connection: Connection = ours

    def hear(self) -> RankFailed | None:
        """Return what it says went wrong, or None where it is gone."""
        with suppress(EOFError, OSError):
            found: RankFailed = self.connection.recv()
            return found
        return None

    def exit_code(self, within_s: float = 0.0) -> int | None:
        """Return how it has ended: an exit code, or a signal below 0; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        return self._process.returncode

    def ask_to_end(self) -> None:
        with suppress(ConnectionError):  # it is gone
            self.connection.send(None)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def end(self) -> None:
        """Wait for its end for a while, and then end it."""
        self.exit_code(END_S)
        self._process.kill()
        self._process.wait()
