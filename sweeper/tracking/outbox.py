"""The thread that delivers a study's folders to MLflow while the driver goes on.

Training never waits for it: the driver only says that a folder has changed. When MLflow cannot be
reached the folders stay, and are tried again later, now or by `sweeper sync`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from itertools import count
from math import inf
from typing import NamedTuple

from sweeper.errors import DamagedFile, SweeperError, TrackingError, TrackingRefused
from sweeper.paths import StudyFolder, Workspace
from sweeper.tracking.delivery import Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.request_settings import our_requests
from sweeper.tracking.run_record import read_record
from sweeper.tracking.system_monitor import SystemMonitor

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 30.0
LAST_TRY_S = 2.0  # for a server that was out of reach when the sweep ended
POLL_S = 0.1
LONGEST_LOOK_S = 1.0  # between two polls; more has passed only while the process was stopped
SYSTEM_INTERVAL_S = 10.0
SWEEP_RUN = -1  # in place of a trial's number


class DeliveryPhase(IntEnum):
    """How far a trial has come, for its run; a later phase overrides an earlier notice."""

    RUNNING = 0
    INTERRUPTED = 1
    ENDED = 2


class Notice(NamedTuple):
    """That a folder has changed; the ticket distinguishes two notices of the same phase."""

    phase: DeliveryPhase
    ticket: int


class AwakeClock:
    """Seconds in which this process ran: a suspended laptop or a stopped process has not waited for anybody."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last = clock()
        self._awake = 0.0

    def __call__(self) -> float:
        now = self._clock()
        self._awake += min(now - self._last, LONGEST_LOOK_S)
        self._last = now
        return self._awake


class Patience:
    """How long the end of a sweep waits for its deliveries: as long as there is one now and then."""

    def __init__(self, patience_s: float, at_most_s: float = inf, clock: Callable[[], float] | None = None):
        self._patience_s = patience_s
        self._clock = clock = clock or AwakeClock()
        self._deadline = clock() + at_most_s
        self._waiting_since = clock()
        self._left: int | None = None
        self._in_trouble = False

    def is_over(self, left: int, *, in_trouble: bool) -> bool:
        """Return whether to wait no more, now that this many folders are left."""
        now = self._clock()
        arrived = self._left is not None and left < self._left
        if arrived or (in_trouble and not self._in_trouble):
            self._waiting_since = now
        self._left, self._in_trouble = left, in_trouble
        patience = min(LAST_TRY_S, self._patience_s) if in_trouble else self._patience_s
        return now >= self._deadline or now - self._waiting_since >= patience


class Outbox:
    """Delivers in the background, oldest trial first.

    With trials `elsewhere`, on other machines, the load of this one is recorded of the study alone.
    """

    def __init__(self, workspace: Workspace, folder: StudyFolder, card: StudyCard, *, elsewhere: bool = False):
        self._elsewhere = elsewhere
        self._workspace = workspace
        self._folder = folder
        self._card = card
        self._changed = threading.Condition()
        self._tickets = count()
        self._pending: dict[int, Notice] = {}
        self._sweep_pending: tuple[str, int] | None = ("RUNNING", next(self._tickets))
        self._closing = False
        self._given_up = threading.Event()
        self._running: dict[int, str] = {}
        self.trouble: str | None = None
        self.refused: str | None = None
        """Why MLflow will not take what is left, however often it is tried."""
        self.experiment: str | None = None
        work = our_requests()(self._work)  # once for all: other threads read the environment meanwhile
        self._thread = threading.Thread(target=work, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notify(self, number: int, phase: DeliveryPhase) -> None:
        """Say that a trial's folder has something new."""
        with self._changed:
            self._pending[number] = Notice(phase, next(self._tickets))
            self._changed.notify()

    def notify_sweep(self, status: str) -> None:
        """Say that the parent run has something new, and its status as MLflow names it."""
        with self._changed:
            self._sweep_pending = (status, next(self._tickets))
            self._changed.notify()

    def run_of(self, number: int) -> str | None:
        """Return the id of a trial's run, where MLflow has given it one by now."""
        try:
            record = read_record(self._folder.trial(number).run)
        except DamagedFile:  # which the delivery reports
            return None
        return record.run_id if record else None

    @property
    def left(self) -> int:
        """How many folders are still to be delivered."""
        with self._changed:
            return len(self._pending) + (self._sweep_pending is not None)

    def close(self, patience_s: float, at_most_s: float = inf, tell: Callable[[int], None] | None = None) -> int:
        """Deliver what is left, for as long as that comes forward; return how many folders could not be.

        It is given up when for `patience_s` seconds none has arrived, or after `at_most_s` in all. When MLflow is
        out of reach, or gets so, it is tried once more, briefly. `tell` is called with how many are left.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        patience = Patience(patience_s, at_most_s)
        try:
            while self._thread.is_alive() and not patience.is_over(self.left, in_trouble=self.trouble is not None):
                if tell is not None:
                    tell(self.left)
                self._thread.join(POLL_S)
        finally:
            self._given_up.set()  # `sync` may begin as soon as the study is let go
        return self.left

    def abandon(self) -> None:
        """Deliver nothing more: another process does."""
        with self._changed:
            self._closing, self._sweep_pending = True, None
            self._pending.clear()
            self._running.clear()
            self._given_up.set()
            self._changed.notify_all()

    def _work(self) -> None:
        delivery: Delivery | None = None
        wait = FIRST_RETRY_S
        sampler = _SystemSampler()
        while True:
            work, last = self._wait_for_work(sampler.seconds_left()), self._closing
            if self._given_up.is_set() or (last and not work):
                return
            try:
                if delivery is None:
                    store = MlflowStore(self._card.tracking_uri, self._workspace)
                    delivery = Delivery(store, self._folder, self._card, self._given_up)
                self.experiment = delivery.experiment
                self._deliver_all(delivery)
                self._log_system(delivery, sampler)
                self.trouble, self.refused, wait = None, None, FIRST_RETRY_S
            except Exception as error:
                # Whatever it is, the sweep goes on, what is recorded stays on disk, and it is tried again.
                if self._given_up.is_set():
                    return
                if isinstance(error, TrackingRefused):
                    delivery = None  # what it knows may be gone in MLflow, such as a run that somebody has deleted
                known, closing = self.trouble is not None, self._closing
                self._note_trouble(error)
                if closing and known:
                    return
                self._back_off(FIRST_RETRY_S if closing else wait, closing)
                wait = min(wait * 2, LAST_RETRY_S)

    def _note_trouble(self, error: Exception) -> None:
        if not isinstance(error, SweeperError | OSError):
            logger.error("what is recorded cannot be delivered", exc_info=error)
        self.refused = str(error) if isinstance(error, TrackingRefused) else None
        self.trouble = str(error)

    def _back_off(self, seconds: float, closing: bool) -> None:
        """Wait before the next try, or until the outbox begins to close."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing and not closing, seconds)

    def _wait_for_work(self, timeout_s: float) -> bool:
        """Wait until something is pending, the next sample is due or the outbox closes."""

        def ready() -> bool:
            return bool(self._pending) or self._sweep_pending is not None or self._closing

        with self._changed:
            self._changed.wait_for(ready, timeout_s)
            return bool(self._pending) or self._sweep_pending is not None

    def _deliver_all(self, delivery: Delivery) -> None:
        """Deliver every pending notice; one that fails stays pending.

        A folder that cannot be read does not hold up the others; TrackingError names it at the end.
        """
        stuck: dict[int, Exception] = {}
        while True:
            with self._changed:
                sweep, numbers = self._sweep_pending, sorted(self._pending.keys() - stuck)
            if sweep is not None and (sweep[0] == "RUNNING" or not numbers):
                self._running[SWEEP_RUN] = delivery.deliver_sweep(sweep[0])
                self.trouble = None
                with self._changed:
                    self._sweep_pending = None if self._sweep_pending == sweep else self._sweep_pending
                continue
            if not numbers:
                break
            try:
                self._deliver_one(delivery, numbers[0])
            except (OSError, ValueError, DamagedFile, TrackingRefused) as error:
                stuck[numbers[0]] = error
        if stuck:
            raise _told_of(stuck, self._folder)

    def _deliver_one(self, delivery: Delivery, number: int) -> None:
        with self._changed:
            notice = self._pending[number]
        phase = notice.phase
        run = delivery.deliver_trial(
            self._folder.trial(number), ended=phase is DeliveryPhase.ENDED, running=phase is DeliveryPhase.RUNNING
        )
        self.trouble = None
        if phase is DeliveryPhase.RUNNING and run:
            self._running[number] = run
        else:
            self._running.pop(number, None)
        with self._changed:
            if self._pending.get(number) == notice:
                del self._pending[number]

    def _log_system(self, delivery: Delivery, sampler: _SystemSampler) -> None:
        if not sampler.due():
            return
        values, step = sampler.take()
        for number, run in self._running.items():
            if self._elsewhere and number != SWEEP_RUN:
                continue
            delivery.log_system(run, values, step, int(time.time() * 1000))


def _told_of(stuck: Mapping[int, Exception], folder: StudyFolder) -> TrackingError:
    """Return why folders could not be delivered."""
    refused = any(isinstance(error, TrackingRefused) for error in stuck.values())
    told = "; ".join(f"{folder.trial(number).path}: {error}" for number, error in stuck.items())
    return TrackingRefused(told) if refused else TrackingError(told)


class _SystemSampler:
    """Samples the machine's load at a fixed interval."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last = clock() - SYSTEM_INTERVAL_S
        self._step = 0
        self._monitor: SystemMonitor | None = None

    def seconds_left(self) -> float:
        return max(0.0, self._last + SYSTEM_INTERVAL_S - self._clock())

    def due(self) -> bool:
        return self.seconds_left() == 0

    def take(self) -> tuple[dict[str, float], int]:
        self._monitor = self._monitor or SystemMonitor()
        self._last = self._clock()
        self._step = int(time.time() // SYSTEM_INTERVAL_S)  # goes on rising over restarts of the study
        return self._monitor.sample(), self._step
