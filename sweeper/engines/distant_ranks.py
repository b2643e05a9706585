"""Ranks of a trial on other machines, as its worker has them: each calls the worker, which takes it for a process.

The worker listens on its machine's address for as long as it waits for them. Who calls proves by the slot's secret that
it belongs to it (the challenge of `multiprocessing.connection`), and says which rank it is. The connection is for that
rank what the pipe is for one on this machine: by its end each side knows that the other is gone. A machine that
loses power or is cut off says nothing; the kernel asks for it, and ends the connection after DEAF_S.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge, wait

from sweeper.engines.protocol import RANK_LOST_EXIT, Spread
from sweeper.engines.rank_process import RankFailed
from sweeper.errors import RankLost

CALL_S = 60.0
"""Within this time all ranks on other machines have called."""

DEAF_S = 20
"""After so many seconds without an answer from the other machine's kernel a connection has ended."""

PAUSE_S = 0.1


@dataclass(frozen=True)
class RankEnded:
    """The process of a rank on another machine has ended: its exit code, or a signal below 0, and its last line."""

    code: int
    said: str


class DistantRank:
    """A rank on another machine.

    Attributes:
        rank: Its number.
        connection: Takes a Meeting, then trials, and None to end; gives RankFailed and RankEnded.
        said: Why it has ended, once it is known.
    """

    def __init__(self, rank: int, connection: Connection):
        self.rank, self.connection, self.said = rank, connection, ""
        self._lock = threading.Lock()
        self._failed: RankFailed | None = None
        self._code: int | None = None

    def hear(self) -> RankFailed | None:
        """Return what it says went wrong, or None where it is gone; whoever asks hears the same."""
        with self._lock:
            if self._failed is not None or self._code is not None:
                return self._failed
            try:
                found: RankFailed | RankEnded = self.connection.recv()
            except (EOFError, OSError):
                found = RankEnded(RANK_LOST_EXIT, f"the machine of device {self.rank + 1} of the trial is gone")
            if isinstance(found, RankFailed):
                self._failed = found
            else:
                self._code, self.said = found.code, found.said
            return self._failed

    def exit_code(self, within_s: float = 0.0) -> int | None:
        """Return how it has ended: an exit code, or a signal below 0; None while it runs."""
        if self._code is None and wait([self.connection], within_s):
            self.hear()
        return self._code

    def ask_to_end(self) -> None:
        with suppress(ConnectionError):  # it is gone
            self.connection.send(None)

    def kill(self) -> None:
        """End it at once: its machine ends what it no longer hears of."""
        with suppress(OSError):
            hang_up(self.connection)

    end = kill


def await_ranks(spread: Spread, wanted: Collection[int], announce: Callable[[int], None]) -> list[DistantRank]:
    """Return the ranks on other machines, in their order, once all have called at the port that is announced.

    Raises RankLost where one does not.
    """
    arrived: queue.SimpleQueue[tuple[int, Connection]] = queue.SimpleQueue()
    found: dict[int, Connection] = {}
    deadline = time.monotonic() + CALL_S
    with _listening(spread.meeting) as server:
        announce(server.getsockname()[1])
        while len(found) < len(wanted):
            if time.monotonic() > deadline:
                missing = sorted(set(wanted) - set(found))
                raise RankLost(_not_called(spread, missing), unmet=missing)
            with suppress(TimeoutError):
                caller, _ = server.accept()
                threading.Thread(target=_greet, args=(caller, spread.key, arrived), daemon=True).start()
            while not arrived.empty():
                rank, connection = arrived.get()
                found[rank] = connection
    return [DistantRank(rank, found[rank]) for rank in sorted(found)]


def _listening(host: str) -> socket.socket:
    """Return a socket that listens on a free port. Raises RankLost."""
    try:
        server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise RankLost(f"the worker cannot listen at {host}, its machine's address in the cluster: {error}") from error
    server.settimeout(PAUSE_S)
    return server


def _not_called(spread: Spread, missing: Collection[int]) -> str:
    named = " and ".join(str(rank + 1) for rank in missing)
    return (
        f"device {named} of the trial did not reach {spread.meeting} from its machine within {CALL_S:g} s; machines of "
        "a cluster must be able to open connections to each other, on any port"
    )


def _greet(caller: socket.socket, key: bytes, arrived: queue.SimpleQueue[tuple[int, Connection]]) -> None:
    """Let in who knows the key; of a stranger nothing is unpickled, and one that is silent holds up nobody."""
    _notice_the_end(caller)
    connection = Connection(caller.detach())
    try:
        deliver_challenge(connection, key)
        answer_challenge(connection, key)
        arrived.put((int(connection.recv()), connection))
    except (OSError, EOFError, AuthenticationError):
        connection.close()


def call_worker(spread: Spread, port: int, rank: int) -> Connection:
    """Return the connection to the worker of a rank on this machine. Raises OSError, EOFError, AuthenticationError."""
    calling = socket.create_connection((spread.meeting, port), timeout=CALL_S)
    calling.settimeout(None)
    _notice_the_end(calling)
    connection = Connection(calling.detach())
    answer_challenge(connection, spread.key)
    deliver_challenge(connection, spread.key)
    connection.send(rank)
    return connection


def hang_up(connection: Connection) -> None:
    """End a connection between machines, so that a thread that waits for it here notices. Raises OSError."""
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def _notice_the_end(connected: socket.socket) -> None:
    """Let the kernel ask whether the other machine is there, and say so where it is not."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asked = {"TCP_KEEPIDLE": DEAF_S // 4, "TCP_KEEPINTVL": DEAF_S // 4, "TCP_KEEPCNT": 3}
    for name, value in {**asked, "TCP_USER_TIMEOUT": DEAF_S * 1000}.items():
        if hasattr(socket, name):  # which systems have differs
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
