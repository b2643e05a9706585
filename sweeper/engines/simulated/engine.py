"""Slots whose trials run in virtual time.

What is to happen stands in a queue by its moment. `events` goes to the next moment and lets it happen, so that hours
of many workers pass as fast as the driver handles what they report.
"""

from __future__ import annotations

import heapq
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Literal, NamedTuple

from sweeper.config.engine import SimulateConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines.packing import DeviceRoom
from sweeper.engines.protocol import (
    DiskTrouble,
    EpochFinished,
    Event,
    FoldAhead,
    SlotRetired,
    TrialEnded,
    WorkerDied,
    WorkerReady,
)
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.engines.simulated.curves import Curves, Family, Recorded
from sweeper.engines.simulated.faults import Fault, Faults
from sweeper.engines.simulated.progress import MEGABYTES, SimulatedTrial
from sweeper.engines.simulated.slot import SimulatedSlot
from sweeper.errors import DiskError
from sweeper.paths import StudyFolder
from sweeper.results import SIMULATED, TrialSpec

MAX_FAILED_STARTS = 3
REASONS = {
    Fault.KILLED: "its worker was killed by SIGKILL (simulated)",
    Fault.OUT_OF_MEMORY: "its worker was killed by SIGKILL, most likely by the kernel because memory ran out "
    "(simulated)",
    Fault.MACHINE_LOST: "its machine was lost (simulated)",
    Fault.FAILED: "training loss became nan (simulated)",
}
Happening = Callable[[], list[Event]]


class Planned(NamedTuple):
    """What is to happen to a worker at a moment; the order here decides what happens at once."""

    moment: float
    place: int
    slot: SimulatedSlot
    life: int
    happen: Happening


def simulated_engine(
    sweep: SweepConfig, folder: StudyFolder, workers: int | Literal["auto"] | None, clock: VirtualClock
) -> SimulatedEngine:
    """Start the engine that a search space describes, with one worker unless a number is given.

    Raises ConfigError for recorded curves that cannot be read.
    """
    settings = sweep.engine
    if not isinstance(settings, SimulateConfig):
        raise TypeError(f"the engine of {sweep.study} is {settings.name}")
    curves: Curves = Family(sweep.search, settings.seed, settings.noise)
    if settings.curves is not None:
        curves = Recorded.read(Path(settings.curves), sweep.search, sweep.objective)
    return SimulatedEngine(sweep, folder, settings, curves, workers if isinstance(workers, int) else 1, clock)


class SimulatedEngine:
    """Workers that follow learning curves.

    Args:
        sweep, folder: What is run, and where its trials leave their files.
        settings: How long things take and what goes wrong.
        curves: Which curve a trial follows.
        workers: How many slots there are.
        clock: The time in which they run; only this engine moves it.
        counts_driver: Let the time that the driver takes pass for the workers too, as it does on real ones.
    """

    def __init__(
        self,
        sweep: SweepConfig,
        folder: StudyFolder,
        settings: SimulateConfig,
        curves: Curves,
        workers: int,
        clock: VirtualClock,
        *,
        counts_driver: bool = False,
    ):
        self._sweep = sweep
        self._folder = folder
        self._settings = settings
        self._curves = curves
        self._clock = clock
        self._counts_driver = counts_driver
        self._left_at: float | None = None  # when the driver last had what it wanted of us
        self._dice = random.Random(f"engine {settings.seed}")  # noqa: S311
        self._faults = Faults(settings.faults, self._dice)
        self._places = count()
        self._plan: list[Planned] = []
        self._on: dict[int, SimulatedSlot] = {}
        self._numbers = count()
        self._slots: list[SimulatedSlot] = []
        self._free: list[SimulatedSlot] = []
        self._workers = 0
        self.resize(workers)

    def resize(self, workers: int) -> None:
        self._workers = workers
        more = [self._slot(number) for number in islice(self._numbers, max(0, workers - len(self._slots)))]
        arrival = 0.0
        for slot in more:
            self._start(slot, arrival)
            arrival += self._drawn_wait(self._settings.arrivals)
        self._slots += more
        for slot in list(self._free):
            if self._let_go_surplus(slot):
                self._free.remove(slot)

    def _let_go_surplus(self, slot: SimulatedSlot) -> bool:
        """End a worker that is on no trial, if there are more than were asked for; return whether it ends."""
        surplus = len(self._slots) > self._workers
        if surplus:
            self._slots.remove(slot)
        return surplus

    def _slot(self, number: int) -> SimulatedSlot:
        slowness = math.exp(self._dice.gauss(0, self._settings.speeds))
        return SimulatedSlot(number, number // self._settings.workers_per_machine, slowness)

    def _drawn_wait(self, mean: float) -> float:
        return self._dice.expovariate(1 / mean) if mean else 0.0

    @property
    def idle(self) -> int:
        return len(self._free)

    @property
    def busy(self) -> int:
        """How many workers are on a trial."""
        return sum(bool(slot.trials) for slot in self._slots)

    def submit(self, group: Sequence[TrialSpec]) -> None:
        with self._called():
            slot = self._free.pop(0)
            slot.take([self._trial(spec, slot) for spec in group])
            self._on |= dict.fromkeys((spec.number for spec in group), slot)
            self._go_on(slot)

    def _trial(self, spec: TrialSpec, slot: SimulatedSlot) -> SimulatedTrial:
        dice = random.Random(f"{self._settings.seed}/{spec.seed}/duration")  # noqa: S311
        epoch_s = self._settings.epoch * math.exp(dice.gauss(0, self._settings.spread)) * slot.slowness
        return SimulatedTrial(spec, self._folder.trial(spec.number), self._curves.of(spec), epoch_s, self._sweep)

    def events(self, timeout_s: float) -> Iterator[Event]:
        with self._called():
            happened = self._next_moment(timeout_s)
        yield from happened

    @contextmanager
    def _called(self) -> Iterator[None]:
        """Let the time that the driver has taken pass, where that counts; the engine's own does not."""
        if self._left_at is not None:
            self._clock.advance_to(self._clock() + time.perf_counter() - self._left_at)
        yield
        if self._counts_driver:
            self._left_at = time.perf_counter()

    def _next_moment(self, timeout_s: float) -> list[Event]:
        """Let happen what is due next; nothing where that is later than in this time, which then has passed."""
        until = self._clock() + timeout_s
        self._clock.advance_to(min(self._plan[0].moment, until) if self._plan else until)
        happened: list[Event] = []
        while self._plan and self._plan[0].moment <= self._clock():
            planned = heapq.heappop(self._plan)
            if planned.life == planned.slot.life:
                happened += planned.happen()
        return happened

    def answer(self, number: int, *, prune: bool) -> None:
        slot = self._on.get(number)
        if slot is None or not slot.waiting:
            return  # its worker has died meanwhile; `events` says so
        with self._called():
            slot.waiting = False
            slot.trial.pruned = slot.trial.pruned or prune
            self._go_on(slot)

    def train_ahead(self, part: FoldAhead) -> bool:  # noqa: ARG002
        return False  # folds are not simulated

    def give_up(self, number: int, reason: str) -> None:
        slot = self._on[number]
        self._at(0.0, slot, partial(self._die, slot, reason))

    def close(self) -> None:
        self._plan.clear()
        self._free.clear()
        self._on.clear()

    def _at(self, seconds: float, slot: SimulatedSlot, happen: Happening) -> None:
        """Plan what happens to a worker in some seconds, unless it has died by then."""
        heapq.heappush(self._plan, Planned(self._clock() + seconds, next(self._places), slot, slot.life, happen))

    def _start(self, slot: SimulatedSlot, after: float = 0.0) -> None:
        self._at(after + self._settings.start, slot, partial(self._arrive, slot))

    def _arrive(self, slot: SimulatedSlot) -> list[Event]:
        if not self._faults.start_fails():
            slot.ready, slot.failed_starts = True, 0
            if self._let_go_surplus(slot):
                return []
            self._free.append(slot)
            return [WorkerReady(DeviceRoom(MEGABYTES, device=SIMULATED))]
        slot.failed_starts += 1
        reason = "its worker could not start (simulated)"
        if slot.failed_starts == MAX_FAILED_STARTS:
            self._slots.remove(slot)
            return [WorkerDied(None, reason), SlotRetired(reason, len(self._slots))]
        self._start(slot)
        return [WorkerDied(None, reason)]

    def _go_on(self, slot: SimulatedSlot) -> None:
        """Plan the next step of a worker: tell what is on disk, train an epoch, or end the trial."""
        trial, latency = slot.trial, self._drawn_wait(self._settings.latency)
        if trial.untold is not None:
            self._at(latency, slot, partial(self._tell, slot))
        elif trial.complete:
            self._at(latency, slot, partial(self._end, slot))
        else:
            self._train(slot, trial, latency)

    def _train(self, slot: SimulatedSlot, trial: SimulatedTrial, latency: float) -> None:
        """Plan the end of an epoch, and what goes wrong before or right after it."""
        fault = self._faults.of_epoch()
        wait = self._settings.silence if fault is Fault.SILENT else 0.0
        failure = REASONS[fault] if fault is Fault.FAILED else None
        self._at(wait + trial.epoch_s, slot, partial(self._finish_epoch, slot, latency, failure))
        if fault in (Fault.KILLED, Fault.OUT_OF_MEMORY):
            for_memory = fault is Fault.OUT_OF_MEMORY
            strike = partial(self._die, slot, REASONS[fault], for_memory=for_memory)
            self._at(self._faults.moment() * trial.epoch_s, slot, strike)
        elif fault is Fault.MACHINE_LOST:
            self._at(self._faults.moment() * trial.epoch_s, slot, partial(self._lose_machine, slot))

    def _finish_epoch(self, slot: SimulatedSlot, latency: float, failure: str | None) -> list[Event]:
        """Leave an epoch on disk; the report of it is on its way for a while."""
        if failure is not None:
            return self._end(slot, failure)
        try:
            slot.trial.train_epoch(self._clock.now_ms)
        except DiskError as error:
            return [DiskTrouble(slot.trial.spec.number, str(error))]
        self._at(latency, slot, partial(self._tell, slot))
        return []

    def _tell(self, slot: SimulatedSlot) -> list[Event]:
        trial = slot.trial
        metrics = trial.history[trial.told]
        trial.told += 1
        slot.waiting = True
        return [EpochFinished(trial.spec.number, metrics)]

    def _end(self, slot: SimulatedSlot, failure: str | None = None) -> list[Event]:
        trial = slot.trial
        try:
            outcome = trial.end(self._clock.now_ms, failure)
        except DiskError as error:
            return [DiskTrouble(trial.spec.number, str(error))]
        slot.trials.popleft()
        del self._on[trial.spec.number]
        if slot.trials:
            self._go_on(slot)
        elif not self._let_go_surplus(slot):
            self._free.append(slot)
        return [TrialEnded(trial.spec.number, outcome)]

    def _die(
        self, slot: SimulatedSlot, reason: str, *, for_memory: bool = False, blameless: bool = False
    ) -> list[Event]:
        """Lose the worker of a slot, and start another."""
        if slot in self._free:
            self._free.remove(slot)
        lost = slot.die()
        for number in lost:
            self._on.pop(-1 if number is None else number, None)
        self._start(slot)
        return [WorkerDied(number, reason, for_memory, blameless) for number in lost]

    def _lose_machine(self, slot: SimulatedSlot) -> list[Event]:
        there = [other for other in self._slots if other.machine == slot.machine]
        reason = REASONS[Fault.MACHINE_LOST]
        return [event for other in there for event in self._die(other, reason, blameless=True)]
