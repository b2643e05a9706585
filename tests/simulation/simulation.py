"""A study from its first command to its end, over as many lives of the driver as it takes.

Driver, store, ledger, outbox and delivery are the program's own. The engine, the clock, the disk, the server and the
switching of threads are those of the simulation.
"""

from __future__ import annotations

import random
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.engines.protocol import Event
from sweeper.engines.simulated.curves import Family
from sweeper.engines.simulated.engine import SimulatedEngine
from sweeper.errors import SweeperError
from sweeper.files import write_whole
from sweeper.paths import Workspace
from sweeper.results import TrialSpec, TrialState
from sweeper.search import study_store
from sweeper.search.study_store import StudyStore
from sweeper.study import driver
from sweeper.study.driver import Driver
from sweeper.study.result import SweepResult
from sweeper.study.stopping import StopRequest
from sweeper.study.summary import SummaryClock
from sweeper.tracking import delivery, outbox
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.outbox import Outbox
from tests.simulation.disk import Disk
from tests.simulation.server import Server
from tests.simulation.setting import QUIET, Setting
from tests.simulation.storage import storages
from tests.simulation.threads import Threads
from tests.simulation.world import Killed, World
from tests.study.test_driver import Silent

TROUBLED_LIVES, MOST_LIVES = 8, 40
LOOK_S = 10.0  # virtual seconds that the driver waits for an event; looks in between would cost time and show nothing
QUIET_ENGINE = {"killed": 0.0, "out_of_memory": 0.0, "machine_lost": 0.0, "start": 0.0}


@dataclass
class Simulation:
    """One seed's run; `specs` are all trials that were given to workers, each time anew."""

    setting: Setting
    folder: Path
    world: World = field(init=False)
    specs: dict[int, list[TrialSpec]] = field(default_factory=lambda: defaultdict(list))
    lives: int = 0

    def __post_init__(self) -> None:
        self.world = World(random.Random(f"world {self.setting.seed}"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.workspace = Workspace(self.folder)
        self.server = Server(self.world)
        self.disk = Disk(self.world, self.folder)
        self.threads = Threads(self.world)
        self.world.go_on_elsewhere = self.threads.take_turns
        file = self.folder / "optuna.db" if self.setting.on_sqlite else None
        self.open_storage = storages(self.world, file)

    def run(self) -> SweepResult:
        """Give the same command until the study is complete and delivered."""
        while self.lives < MOST_LIVES:
            self.lives += 1
            self.world.rates = self.setting.rates if self.lives <= TROUBLED_LIVES else QUIET
            result = self._live()
            if result and not result.interrupted and not result.undelivered and not result.stopped_because:
                return result
        raise AssertionError(f"the study has not come to its end in {MOST_LIVES} lives of the driver")

    def _live(self) -> SweepResult | None:
        """Run the driver until it ends, or its process dies; None where it has no result."""
        self.world.note(f"life {self.lives}")
        self.world.alive = True
        result = None
        try:
            with self._in_place_of_the_real() as engine:
                result = self._drive(engine)
                self.world.note(f"ended: {result.stopped_because or ''} {result.undelivered} left")
        except Killed:
            if self.world.chance(0.5):
                self.disk.cut_power()
        except SweeperError as error:
            self.world.note(f"{type(error).__name__}: {error}".replace(str(self.folder), ""))
        finally:
            self.world.alive = False
            self.threads.kill()
        return result

    def _drive(self, engine: Callable[[], SimulatedEngine]) -> SweepResult:
        sweep = self._sweep()
        store = StudyStore.create_or_load("sqlite://", sweep)
        store.enqueue(sweep.enqueue)
        folder = self.workspace.study("s")
        box = Outbox(self.workspace, folder, card())
        result = Driver(store, folder, box, Silent(), clock=self.world.clock).run(engine)
        failures_end_it = sweep.budget.max_consecutive_failures <= sweep.budget.trials
        timed = (result.stopped_because or "").startswith("the time of") and not failures_end_it
        if timed and not result.interrupted:
            left = [row.number for row in result.rows if row.state is TrialState.WAITING and row.config_json]
            assert not left, f"trials {left} had begun and wait for good, since the time is used up"
        return result

    def _sweep(self) -> Any:
        """Return the search space; after many lives without what ends a study early."""
        sweep = self.setting.sweep
        if self.lives <= TROUBLED_LIVES:
            return sweep
        lasting = sweep.budget.model_copy(update={"timeout": None, "max_consecutive_failures": 1000})
        return sweep.model_copy(update={"budget": lasting})

    @contextmanager
    def _in_place_of_the_real(self) -> Iterator[Callable[[], SimulatedEngine]]:
        """Put the simulation's disk, server, clock and threads below the program, while the block runs."""
        world = self.world
        with pytest.MonkeyPatch.context() as patch:
            self.disk.install(patch)
            patch.setattr(study_store, "open_storage", self.open_storage)
            patch.setattr(driver, "POLL_S", LOOK_S)
            patch.setattr(driver, "SummaryClock", lambda: SummaryClock(world.clock))
            patch.setattr(driver, "StopRequest", lambda: Interruptible(world))
            patch.setattr(outbox, "threading", self.threads)
            patch.setattr(outbox, "AwakeClock", lambda: world.clock)
            patch.setattr(outbox, "MlflowStore", lambda *_: self.server)
            patch.setattr(outbox, "_SystemSampler", NoSampler)
            patch.setattr(delivery, "StudyRecords", lambda *_: SimpleNamespace(begin=lambda: "1"))
            drawn = SimpleNamespace(draw=lambda _history, _best, file: write_whole(file, b""))
            patch.setattr(delivery.Delivery, "_curves_of", lambda *_: drawn)
            yield self._engine

    def _engine(self) -> SimulatedEngine:
        settings = self.setting.engine.model_copy(update={"seed": self.setting.seed * MOST_LIVES + self.lives})
        if self.lives > TROUBLED_LIVES:
            settings = settings.model_copy(update={"faults": settings.faults.model_copy(update=QUIET_ENGINE)})
        curves = Family(self.setting.sweep.search, self.setting.seed, noise=0.05)
        return Noting(self, settings, curves)


class Interruptible(StopRequest):
    """Is asked to stop by the world, and not by signals of this process."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    @contextmanager
    def heard(self) -> Iterator[None]:
        self._world.interrupt = self._ask
        yield
        self._world.interrupt = lambda: None

    def hear(self) -> None:
        pass

    def _ask(self) -> None:
        self._by = signal.SIGINT


class Noting(SimulatedEngine):
    """The engine, which notes what the driver is told and what it asks for."""

    def __init__(self, simulation: Simulation, settings: Any, curves: Family):
        folder = simulation.workspace.study("s")
        world = simulation.world
        super().__init__(simulation.setting.sweep, folder, settings, curves, simulation.setting.workers, world.clock)
        self._simulation = simulation
        self._world = world

    def submit(self, group: Sequence[TrialSpec]) -> None:
        for spec in group:
            self._world.note(f"trial {spec.number} is given to a worker")
            self._simulation.specs[spec.number].append(spec)
        super().submit(group)

    def events(self, timeout_s: float) -> Iterator[Event]:
        self._world.place("events")
        for event in super().events(timeout_s):
            self._world.note(str(event)[:120])
            yield event


class NoSampler:
    """Samples no load of the machine, which no seed decides."""

    def seconds_left(self) -> float:
        return 1e9

    def due(self) -> bool:
        return False


def card() -> StudyCard:
    dataset = {"name": "digits", "digest": "abc", "source": "digits", "profile": {"images": {"train": 3}}}
    return StudyCard(study="s", tracking_uri="memory", start_ms=1000, params={"seed": 0}, tags={}, dataset=dataset)


def quiet(setting: Setting) -> Setting:
    """Return the same study without any trouble."""
    faults = setting.engine.faults.model_copy(update=QUIET_ENGINE | {"silent": 0.0, "failed": 0.0})
    engine = setting.engine.model_copy(update={"faults": faults})
    return replace(setting, rates=QUIET, engine=engine)
