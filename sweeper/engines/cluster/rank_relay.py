"""Between a worker on another node and the process of one of its trials' devices on this one.

To the worker the relay is the device's process, by a connection between machines; to the process it is the worker, by
the pipe that every further rank has. So the process ends with the worker: the relay kills it when that connection ends,
even where it waits in vain for other ranks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, wait
from pathlib import Path

from sweeper.engines.distant_ranks import RankEnded, call_worker, hang_up
from sweeper.engines.protocol import CANNOT_START_EXIT, Spread, WorkerSetup
from sweeper.engines.rank_process import END_S, RankProcess, RankSetup
from sweeper.engines.reason import last_line
from sweeper.results import TrialSpec

logger = logging.getLogger(__name__)

Numbered = tuple[int, TrialSpec]
"""A trial with the paths of this node, and the number of the command that brought it."""


class Relay:
    """The process of one device, from a worker's call for it to its end.

    Args:
        setup, spread: What the process knows, with the paths of this node.
        rank: Which device it is.
        port: Where the worker waits for it.
        log: Where the process prints.
        after: Trials that came by an earlier command are not meant by the worker.
        trial: Returns a trial once it has come by a later command than a given one.
        cannot_start: Gets the reason where the device is of no use.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        spread: Spread,
        rank: int,
        port: int,
        log: Path,
        *,
        after: int,
        trial: Callable[[int, int], Numbered],
        cannot_start: Callable[[str], None],
    ):
        self._setup, self._spread, self._rank, self._port, self._log = setup, spread, rank, port, log
        self._after, self._trial, self._cannot_start = after, trial, cannot_start
        self._stopped = threading.Event()
        self._worker: Connection | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"rank-{rank}")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the process soon, whatever it does."""
        self._stopped.set()
        if self._worker is not None:
            with suppress(OSError):
                hang_up(self._worker)

    def _run(self) -> None:
        try:
            with closing(call_worker(self._spread, self._port, self._rank)) as worker:
                self._worker = worker
                if not self._stopped.is_set():
                    self._serve(worker)
        except (OSError, EOFError, AuthenticationError) as error:
            logger.info("device %d no longer hears of its worker: %s", self._rank + 1, error)

    def _serve(self, worker: Connection) -> None:
        """Start the process and bring messages to and fro until it or the worker has ended."""
        process = RankProcess(RankSetup(self._setup, self._rank, worker.recv()), self._log)
        try:
            while True:
                ready = wait([worker, process.connection])
                if process.connection in ready:
                    if (failed := process.hear()) is None:
                        self._tell_end(worker, process)
                        return
                    worker.send(failed)
                if worker in ready:
                    self._bring(worker.recv(), process)
        finally:
            process.kill()
            process.end()
            process.connection.close()

    def _bring(self, spec: TrialSpec | None, process: RankProcess) -> None:
        """Give the process a trial as it is on this node, or let it end."""
        if spec is not None:
            self._after, spec = self._trial(spec.number, self._after)
        with suppress(ConnectionError):  # it is gone, which shows next
            process.connection.send(spec)

    def _tell_end(self, worker: Connection, process: RankProcess) -> None:
        code, said = process.exit_code(END_S), last_line(self._log)
        if code == CANNOT_START_EXIT:
            self._cannot_start(said)
        worker.send(RankEnded(1 if code is None else code, said))
