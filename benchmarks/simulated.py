"""What a driver takes with 1,000 workers and thousands of trials: learning curves in virtual time, nothing trained.

    python -m benchmarks.simulated [--workers 1000] [--trials 10000] [--epochs 10] [--epoch 10] [--reports 20000]

Driver, store, ledger and engine are the program's; the study is on SQLite, under a lease. Delivery to MLflow is left
out: it goes on beside the driver and is measured elsewhere. The time that the driver takes passes for the workers too,
so that one which is too slow leaves them idle. Processor seconds are those of the process less those of the engine.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.large_study import STUDY, large_sweep, write_large_study
from benchmarks.measurements import Measurement, Result, Section
from sweeper.config.engine import SimulateConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines.protocol import Engine, EpochFinished, Event
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.engines.simulated.curves import Family
from sweeper.engines.simulated.engine import SimulatedEngine
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialSpec
from sweeper.search.lease import Holder
from sweeper.search.study_store import StudyStore
from sweeper.study.driver import Driver
from sweeper.tracking.outbox import DeliveryPhase

MOST_ASK_MS, LEAST_REPORTS, LEAST_BUSY = 50.0, 1000.0, 0.95
ASKS = 30
FINISHED = (100, 1_000, 10_000)


class Published(NamedTuple):
    """A benchmark in Ray Tune's documentation (Scalability and Overhead Benchmarks), and what it took there."""

    trials: int
    workers: int
    epochs: int
    epoch_s: float
    theirs_s: float

    @property
    def title(self) -> str:
        length = self.epochs * self.epoch_s
        return f"{self.trials:,} trials of {length:g} s with {self.epochs} results on {self.workers:,} CPUs"

    @property
    def least_s(self) -> float:
        """What it takes where nothing but the trials takes any time."""
        return -(-self.trials // self.workers) * self.epochs * self.epoch_s


PUBLISHED = (
    Published(trials=10_000, workers=16, epochs=1, epoch_s=1.0, theirs_s=715.27),
    Published(trials=1_000, workers=1_024, epochs=10, epoch_s=10.0, theirs_s=168.18),
    Published(trials=200, workers=400, epochs=300, epoch_s=1.0, theirs_s=2280.82),
)
HOLDER = Holder(process=1, host="h", user="u", place="p")


def main() -> None:
    options = arguments()
    result = Result("simulated", "none")
    result.add(asks(options.finished))
    result.add(reports(options.workers, options.reports, max(options.finished)))
    result.add(whole(options.workers, options.trials, options.epochs, options.epoch))
    result.add(published())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=10_000, help="of a whole study")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--epoch", type=float, default=10.0, help="virtual seconds of an epoch")
    parser.add_argument("--reports", type=int, default=20_000, help="that the driver is to take in as fast as it can")
    parser.add_argument("--finished", nargs="+", type=int, default=FINISHED, help="trials before an ask")
    return parser.parse_args()


def asks(finished: Sequence[int]) -> Section:
    """Measure asks of a further run on studies of so many finished trials, on SQLite."""
    rows = []
    for number in finished:
        with tempfile.TemporaryDirectory() as name:
            workspace = Workspace(Path(name))
            write_large_study(workspace, number, runs=False)
            store = opened(workspace, large_sweep(number + ASKS + 1, 10))
            with held(store):
                first, *further = [timed(partial(store.next_group, 1)) for _ in range(ASKS + 1)]
        limit = MOST_ASK_MS if number == max(finished) else None
        what = f"{number:,} finished trials"
        rows.append(Measurement(f"{what}, processor time", "ms", [1000 * ask.cpu_s for ask in further], at_most=limit))
        rows.append(Measurement(what, "ms", [1000 * ask.wall_s for ask in further]))
        rows.append(Measurement(f"{what}, the first ask of a process", "s", [first.wall_s]))
    return Section("Asking for a trial, with TPE, by finished trials", rows)


class Took(NamedTuple):
    """What a call took; on a machine with other work the two differ."""

    wall_s: float
    cpu_s: float


def timed(call: Callable[[], Any]) -> Took:
    started, used = time.perf_counter(), time.process_time()
    call()
    return Took(time.perf_counter() - started, time.process_time() - used)


def opened(workspace: Workspace, sweep: SweepConfig) -> StudyStore:
    return StudyStore.create_or_load(f"sqlite:///{workspace.optuna_database}", sweep)


def held(store: StudyStore) -> Any:
    return store.held(HOLDER, lambda _: True)


def reports(workers: int, number: int, finished: int) -> Section:
    """Measure reports that come as fast as the driver takes them, in a study of many finished trials."""
    epochs = max(2, -(-number // workers))
    with tempfile.TemporaryDirectory() as name:
        write_large_study(Workspace(Path(name)), finished, epochs, runs=False)
        sweep = large_sweep(finished + workers, epochs)
        run = simulate(Path(name), workers, sweep, 0.001)
    rows = [
        Measurement("reports a second", "", [run.reports / run.reporting_s], at_least=LEAST_REPORTS),
        Measurement("a report", "ms", [1000 * run.reporting_s / run.reports]),
        Measurement("a report, of processor time", "ms", [1000 * run.reporting_cpu_s / run.reports]),
    ]
    title = f"{run.reports:,} reports of {workers:,} workers at once, {finished:,} finished trials, median pruner"
    return Section(title, rows)


def whole(workers: int, trials: int, epochs: int, epoch_s: float) -> Section:
    """Measure a study from its first trial to its last."""
    with tempfile.TemporaryDirectory() as name:
        run = simulate(Path(name), workers, large_sweep(trials, epochs, pruner="none"), epoch_s)
        database = Workspace(Path(name)).optuna_database.stat().st_size
    rows = [
        Measurement("workers busy, while there are trials to start", "", [run.busy], at_least=LEAST_BUSY),
        Measurement("asking for a trial, processor time", "ms", [1000 * ask for ask in run.asks]),
        Measurement("processor time of the driver for each trial", "ms", [1000 * run.driver_s / trials]),
        Measurement("processor time of the driver", "s", [run.driver_s]),
        Measurement("virtual time", "s", [run.virtual_s]),
        Measurement("most memory", "MB", [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]),
        Measurement("the study's database for each trial", "kB", [database / 1e3 / trials]),
    ]
    return Section(f"{trials:,} trials of {epochs} epochs of about {epoch_s:g} s on {workers:,} workers, TPE", rows)


def published() -> Section:
    """Run the benchmarks of Ray Tune's documentation in virtual time, to which the driver's own is added."""
    rows = []
    for one in PUBLISHED:
        with tempfile.TemporaryDirectory() as name:
            sweep = large_sweep(one.trials, one.epochs, pruner="none")
            run = simulate(Path(name), one.workers, sweep, one.epoch_s, spread=0.0, speeds=0.0)
        rows.append(Measurement(f"{one.title}: at least", "s", [one.least_s]))
        rows.append(Measurement(f"{one.title}: sweeper, simulated", "s", [run.virtual_s]))
        rows.append(Measurement(f"{one.title}: Ray Tune, as published", "s", [one.theirs_s]))
    note = "Ray Tune's figures are of real clusters; ours leave out what Ray, the network and training take."
    return Section("Ray Tune's own benchmarks", rows, note)


@dataclass
class Run:
    """What was seen of a simulated study."""

    reports: int = 0
    reporting_s: float = 0.0
    reporting_cpu_s: float = 0.0
    driver_s: float = 0.0
    busy_s: float = 0.0
    offered_s: float = 0.0
    virtual_s: float = 0.0
    asks: list[float] = field(default_factory=list)

    @property
    def busy(self) -> float:
        """The part of the workers' time that they were on a trial, while there were trials to start."""
        return self.busy_s / self.offered_s


def simulate(folder: Path, workers: int, sweep: SweepConfig, epoch_s: float, **durations: float) -> Run:
    """Run a study, or what is left of its budget, and let the driver's time pass for the workers too."""
    workspace, run = Workspace(folder), Run()
    clock = WatchedClock(run)
    store = opened(workspace, sweep)
    settings = SimulateConfig(name="simulate", epoch=epoch_s, start=1e-6, **durations)
    engine = Watched(sweep, workspace.study(STUDY), settings, workers, clock)
    next_group = store.next_group

    def ask(size: int, *, interrupted: bool = False) -> list[TrialSpec]:
        started = time.process_time()
        group = next_group(size, interrupted=interrupted)
        run.asks += [time.process_time() - started] if group else []
        return group

    def take(engine: Engine, reports: Sequence[EpochFinished]) -> None:
        started, used = time.perf_counter(), time.process_time()
        take_reports(engine, reports)
        run.reporting_s += time.perf_counter() - started
        run.reporting_cpu_s += time.process_time() - used

    store.next_group = ask  # type: ignore[method-assign]
    driver = Driver(store, workspace.study(STUDY), NoDelivery(workspace.study(STUDY)), Quiet(run), clock=clock)  # type: ignore[arg-type]
    take_reports = driver._take_reports
    driver._take_reports = take  # type: ignore[method-assign]
    with held(store):
        started = time.process_time()
        driver.run(lambda: engine)
        run.driver_s = time.process_time() - started - engine.own_s
    run.virtual_s = clock()
    return run


class WatchedClock(VirtualClock):
    """Adds up how long workers are busy while there are trials to start, and all of them have had one."""

    engine: Watched

    def __init__(self, run: Run):
        super().__init__()
        self._run = run

    def advance_to(self, moment: float) -> None:
        before, engine = self(), self.engine
        super().advance_to(moment)
        if engine.workers <= engine.begun < engine.trials:
            self._run.busy_s += (engine.workers - engine.idle) * (self() - before)
            self._run.offered_s += engine.workers * (self() - before)


class Watched(SimulatedEngine):
    """The engine, which counts its own time and the trials that it was given."""

    def __init__(self, sweep: SweepConfig, folder: StudyFolder, settings: SimulateConfig, workers: int, clock: Any):
        clock.engine = self
        self.workers, self.trials, self.begun, self.own_s = workers, sweep.budget.trials, 0, 0.0
        curves = Family(sweep.search, settings.seed, settings.noise)
        super().__init__(sweep, folder, settings, curves, workers, clock, counts_driver=True)

    def submit(self, group: Sequence[TrialSpec]) -> None:
        started = time.process_time()
        super().submit(group)
        self.begun += len(group)
        self.own_s += time.process_time() - started

    def events(self, timeout_s: float) -> Iterator[Event]:
        started = time.process_time()
        happened = list(super().events(timeout_s))
        self.own_s += time.process_time() - started
        yield from happened


class NoDelivery:
    """Takes notices in place of an outbox, and removes what would have been delivered."""

    trouble = refused = experiment = None

    def __init__(self, folder: StudyFolder):
        self._folder = folder

    def start(self) -> None: ...

    def notify(self, number: int, phase: DeliveryPhase) -> None:
        if phase is DeliveryPhase.ENDED:
            shutil.rmtree(self._folder.trial(number).path, ignore_errors=True)

    def run_of(self, number: int) -> str | None: ...

    def notify_sweep(self, status: str) -> None: ...

    def close(self, *_: Any) -> int:
        return 0


class Quiet:
    """Watches, counts and says nothing."""

    def __init__(self, run: Run):
        self._run = run

    def epoch_finished(self, *_: Any) -> None:
        self._run.reports += 1

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


if __name__ == "__main__":
    main()
