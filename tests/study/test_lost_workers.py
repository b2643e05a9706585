"""What the driver makes of workers that die and trials that fail, with an engine that follows a script."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeper.config.sweep import SweepConfig
from sweeper.display.plain import PlainLines
from sweeper.engines.protocol import AtWork, EpochFinished, Event, FoldAhead, TrialEnded, WorkerDied
from sweeper.files import write_whole
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.standings.ranking import ranked
from sweeper.study.driver import Driver
from sweeper.study.losses import MAX_MACHINES
from sweeper.study.result import SweepResult

Script = Callable[[TrialSpec], Event]


class Scripted:
    """One slot, whose trials end at once as the script says."""

    def __init__(self, script: Script):
        self._script = script
        self._events: deque[Event] = deque()
        self.specs: list[TrialSpec] = []

    @property
    def idle(self) -> int:
        return int(not self._events)

    def submit(self, group: Sequence[TrialSpec]) -> None:
        (spec,) = group
        self.specs.append(spec)
        self._events.append(self._script(spec))

    def events(self, timeout_s: float) -> Iterator[Event]:
        while self._events:
            yield self._events.popleft()

    def answer(self, number: int, *, prune: bool) -> None: ...

    def train_ahead(self, part: FoldAhead) -> bool:
        return False

    def give_up(self, number: int, reason: str) -> None:
        raise AssertionError(f"trial {number} was given up: {reason}")

    def resize(self, workers: int) -> None:
        raise AssertionError(f"{workers} workers were asked for")

    def close(self) -> None: ...


class NoOutbox:
    """Takes notices and delivers nothing."""

    trouble = None
    experiment = None

    def start(self) -> None: ...

    def notify(self, number: int, phase: object) -> None: ...

    def run_of(self, number: int) -> str | None: ...

    def notify_sweep(self, status: str) -> None: ...

    def close(self, patience_s: float, at_most_s: float = 0, tell: Callable[[int], None] | None = None) -> int:
        return 0


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Script], tuple[SweepResult, Scripted]]:
    sweep = SweepConfig.model_validate(
        {
            "study": "s",
            "dataset": {"builtin": "digits"},
            "budget": {"trials": 8, "epochs": 1, "max_consecutive_failures": 3},
            "search": {"backbone": "r", "weight_decay": {"float": [0, 1]}},
        }
    )

    def start(script: Script) -> tuple[SweepResult, Scripted]:
        engine = Scripted(script)
        store = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", sweep)
        outbox: Any = NoOutbox()
        observer = PlainLines(Console(quiet=True))
        return Driver(store, Workspace(tmp_path).study("s"), outbox, observer).run(lambda: engine), engine

    return start


class Averaging(Scripted):
    """A slot whose worker works on for long after the last epoch, and says so meanwhile."""

    def __init__(self, script: Script):
        super().__init__(script)
        self.now, self._signs = 0.0, 0

    def events(self, timeout_s: float) -> Iterator[Event]:
        if self._events and self._signs < 5:
            self._signs, self.now = self._signs + 1, self.now + 50
            yield AtWork(self.specs[-1].number)
        else:
            self._signs = 0
            yield from super().events(timeout_s)


def test_a_worker_that_averages_epochs_for_longer_than_the_limit_is_not_given_up(tmp_path: Path) -> None:
    content = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}}
    sweep = SweepConfig.model_validate({**content, "budget": {"trials": 2, "epochs": 1, "stuck_after": 60}})
    store, engine = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", sweep), Averaging(complete)
    outbox: Any = NoOutbox()
    observer, folder = PlainLines(Console(quiet=True)), Workspace(tmp_path).study("s")
    driver = Driver(store, folder, outbox, observer, clock=lambda: engine.now)
    result = driver.run(lambda: engine)
    assert engine.now >= 2 * 5 * 50
    assert [row.state for row in result.rows] == [TrialState.COMPLETE] * 2


class Unlucky(Scripted):
    """A slot whose machine is lost whenever its trial has told again what it had reached, or one epoch at first."""

    def submit(self, group: Sequence[TrialSpec]) -> None:
        (spec,) = group
        self.specs.append(spec)
        values = {"val/accuracy": 0.5, "train/loss": 1.0, "time/epoch_s": 1.0}
        told = EpochFinished(spec.number, EpochMetrics(epoch=1, values=values, timestamp_ms=7))
        self._events += [told, WorkerDied(spec.number, "its node is gone", blameless=True)]


def test_a_trial_that_loses_every_machine_in_the_same_epoch_fails_at_last(tmp_path: Path) -> None:
    content = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}}
    sweep = SweepConfig.model_validate({**content, "budget": {"trials": 1, "epochs": 5}})
    store, engine = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'optuna.db'}", sweep), Unlucky(complete)
    outbox: Any = NoOutbox()
    result = Driver(store, Workspace(tmp_path).study("s"), outbox, PlainLines(Console(quiet=True))).run(lambda: engine)
    assert len(engine.specs) == MAX_MACHINES
    assert (result.rows[0].state, result.rows[0].epochs) == (TrialState.FAILED, 1)
    assert result.rows[0].reason == f"its node is gone, {MAX_MACHINES} times without an epoch"


def test_a_trial_that_is_given_up_leaves_nothing_to_go_on_from(run, tmp_path: Path) -> None:
    folder = Workspace(tmp_path).study("s").trial(0)

    def killed(spec: TrialSpec) -> Event:
        if spec.number:
            return complete(spec)
        for file in (folder.checkpoint, folder.leading_of(1)):
            write_whole(file, b"state")
        return WorkerDied(0, "its worker was killed by SIGKILL")

    run(killed)
    assert folder.outcome.exists()
    assert not any(file.exists() for file in (folder.checkpoint, folder.leading_of(1)))


def complete(spec: TrialSpec) -> Event:
    return TrialEnded(spec.number, TrialOutcome(state=TrialState.COMPLETE, epochs=1, best_epoch=1, best_value=0.5))


def failed(number: int, reason: str) -> Event:
    return TrialEnded(number, TrialOutcome(state=TrialState.FAILED, reason=reason))


def exploded(spec: TrialSpec) -> Event:
    value = ("nan", "inf")[spec.number % 2]
    return failed(spec.number, f"training loss became {value} in epoch {spec.number} at learning rate 1e+{spec.number}")


def test_a_trial_whose_workers_are_killed_for_memory_does_not_fit_and_the_study_goes_on(run) -> None:
    killed = WorkerDied(0, "its worker was killed by SIGKILL, most likely for memory", for_memory=True)
    result, engine = run(lambda spec: killed if spec.number == 0 else complete(spec))
    assert [spec.memory_kills for spec in engine.specs[:6]] == [0, 1, 2, 3, 4, 0]
    first, *rest = result.rows
    assert (first.state, first.value) == (TrialState.PRUNED, None)
    assert first.reason.startswith("does not fit in memory: its worker was killed by SIGKILL")
    assert {row.state for row in rest} == {TrialState.COMPLETE}
    assert first not in ranked(result.rows, "maximize")
    assert ranked(result.rows, "maximize")[0] == rest[0]


def test_a_trial_whose_workers_are_killed_by_someone_has_failed_and_lost_no_micro_batch_size(run) -> None:
    killed = WorkerDied(0, "its worker was killed by SIGKILL")
    result, engine = run(lambda spec: killed if spec.number == 0 else complete(spec))
    assert [spec.memory_kills for spec in engine.specs[:3]] == [0, 0, 0]
    assert (result.rows[0].state, result.rows[0].value) == (TrialState.FAILED, None)
    assert result.rows[0].reason == "its worker was killed by SIGKILL, 3 times"


def test_a_study_whose_trials_fail_in_a_row_for_the_same_reason_stops_and_says_why(run) -> None:
    result, _ = run(exploded)
    assert [row.state for row in result.rows] == [TrialState.FAILED] * 3
    assert [row.value for row in result.rows] == [None] * 3
    assert result.stopped_because.startswith("3 trials in a row failed for the same reason: training loss became")


def test_different_reasons_and_trials_in_between_do_not_stop_a_study(run) -> None:
    result, _ = run(lambda spec: failed(spec.number, f"reason {'abc'[spec.number % 3]}"))
    assert (result.stopped_because, len(result.rows)) == (None, 8)


def test_a_streak_of_failures_survives_an_interruption_and_starts_anew_after_it_has_stopped_the_study(run) -> None:
    class DriverKilledError(Exception):
        pass

    def two_then_killed(spec: TrialSpec) -> Event:
        if spec.number == 2:
            raise DriverKilledError
        return exploded(spec)

    with pytest.raises(DriverKilledError):
        run(two_then_killed)
    result, _ = run(exploded)
    assert (len(result.rows), result.stopped_because is None) == (3, False)
    again, _ = run(exploded)
    assert len(again.rows) == 6


def test_trials_that_do_not_fit_neither_lengthen_nor_end_a_streak(run) -> None:
    tight = TrialOutcome(state=TrialState.PRUNED, feasible=False, reason="does not fit in memory: so")
    result, _ = run(lambda spec: TrialEnded(spec.number, tight) if spec.number % 2 else exploded(spec))
    assert len(result.rows) == 5
    assert result.stopped_because
