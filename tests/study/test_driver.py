"""The driver's decisions, with an engine that answers from a script and a real study."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from sweeper.config.pruner import NoPrunerConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines.packing import DeviceRoom
from sweeper.engines.protocol import EpochFinished, Event, FoldAhead, SlotRetired, TrialEnded, WorkerDied, WorkerReady
from sweeper.errors import DiskError, StudyError
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState, write_history
from sweeper.search.study_store import StudyStore
from sweeper.study import driver
from sweeper.study.driver import Driver
from sweeper.study.losses import MAX_ATTEMPTS
from sweeper.study.opening import Opening
from sweeper.study.result import SweepResult
from sweeper.study.saturation import saturated
from sweeper.tracking.outbox import DeliveryPhase

Script = Callable[[TrialSpec], Iterator[Event]]


def sweep_of(**budget: Any) -> SweepConfig:
    content = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "budget": {"trials": 4, "epochs": 3, **budget},
        "pruner": {"name": "median", "startup_trials": 1},
        "search": {"backbone": "r", "weight_decay": {"float": [0, 1]}},
    }
    return SweepConfig.model_validate(content)


class ScriptedEngine:
    """One slot whose trials do what a script says; an epoch waits for its answer."""

    def __init__(self, script: Script):
        self._script = script
        self._current: Iterator[Event] | None = None
        self._spec: TrialSpec | None = None
        self._started = False
        self.pruned: list[int] = []
        self.closed = False

    @property
    def idle(self) -> int:
        return int(self._started and self._current is None)

    def submit(self, group: Sequence[TrialSpec]) -> None:
        (self._spec,) = group
        self._current = self._script(self._spec)

    def events(self, timeout_s: float) -> Iterator[Event]:
        if not self._started:
            self._started = True
            yield WorkerReady(DeviceRoom(free_mb=1000))
        elif self._current is not None:
            event = next(self._current)
            if not isinstance(event, EpochFinished):
                self._current = None
            yield event

    def answer(self, number: int, *, prune: bool) -> None:
        if prune and self._spec is not None:
            self.pruned.append(number)
            outcome = TrialOutcome(state=TrialState.PRUNED, epochs=1, best_epoch=1, best_value=0.0)
            self._current = iter([TrialEnded(number, outcome)])

    def train_ahead(self, part: FoldAhead) -> bool:
        return False

    def give_up(self, number: int, reason: str) -> None:
        raise AssertionError(f"trial {number} was given up: {reason}")

    def resize(self, workers: int) -> None:
        raise AssertionError(f"{workers} workers were asked for")

    def close(self) -> None:
        self.closed = True


class Notices:
    """Takes the notices that an outbox would deliver."""

    trouble = None
    experiment = "1"

    def __init__(self) -> None:
        self.phases: dict[int, DeliveryPhase] = {}
        self.status = ""

    def start(self) -> None: ...

    def notify(self, number: int, phase: DeliveryPhase) -> None:
        self.phases[number] = phase

    def run_of(self, number: int) -> str | None: ...

    def notify_sweep(self, status: str) -> None:
        self.status = status

    def close(self, patience_s: float, at_most_s: float = 0, tell: Callable[[int], None] | None = None) -> int:
        return 0


class Silent:
    """Watches and says nothing."""

    def __init__(self) -> None:
        self.stopped_because = ""
        self.retired: list[tuple[str, int]] = []

    def preparing(self, what: str, done: int, total: int) -> None: ...
    def opening(self, opening: Opening) -> None: ...
    def worker_ready(self, device: str) -> None: ...
    def study_opened(self, sweep: SweepConfig, rows: list[TrialRow], budget: int) -> None: ...
    def retrying(self, numbers: list[int]) -> None: ...
    def trial_started(self, spec: TrialSpec) -> None: ...
    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None: ...
    def trial_paused(self, number: int, outcome: TrialOutcome) -> None: ...
    def trial_ended(self, number: int, outcome: TrialOutcome) -> None: ...
    def worker_died(self, number: int | None, reason: str) -> None: ...

    def trial_silent(self, number: int, seconds: float) -> None: ...

    def slot_retired(self, reason: str, left: int) -> None:
        self.retired.append((reason, left))

    def tracking_trouble(self, message: str | None) -> None: ...
    def delivering(self, left: int) -> None: ...

    def steered(self, what: str, budget: int) -> None: ...

    def epochs_planned(self, epochs: int, before: int) -> None:
        self.planned = (before, epochs)

    def stopping(self, reason: str) -> None:
        self.stopped_because = reason


def epoch(spec: TrialSpec, number: int, value: float) -> EpochFinished:
    return EpochFinished(spec.number, EpochMetrics(epoch=number, values={"val/accuracy": value}, timestamp_ms=number))


def completes(spec: TrialSpec) -> Iterator[Event]:
    value = 1.0 - spec.number / 10
    for number in range(1, spec.epochs + 1):
        yield epoch(spec, number, value)
    yield TrialEnded(spec.number, TrialOutcome(state=TrialState.COMPLETE, epochs=3, best_epoch=1, best_value=value))


def fails(spec: TrialSpec) -> Iterator[Event]:
    yield TrialEnded(spec.number, TrialOutcome(state=TrialState.FAILED, reason=f"NaN in step {spec.number}"))


def dies(spec: TrialSpec) -> Iterator[Event]:
    yield epoch(spec, 1, 0.5)
    yield WorkerDied(spec.number, "its worker was killed by SIGKILL")


def drive(
    folder: Path, engine: ScriptedEngine, sweep: SweepConfig, observer: Silent | None = None, **options: Any
) -> tuple[SweepResult, Notices]:
    workspace = Workspace(folder)
    store = StudyStore.create_or_load(f"sqlite:///{workspace.optuna_database}", sweep)
    notices = Notices()
    enough = partial(saturated, store)
    driver = Driver(store, workspace.study("s"), notices, observer or Silent(), enough=enough, **options)  # type: ignore[arg-type]
    return driver.run(lambda: engine), notices


def test_a_study_runs_to_its_budget_and_prunes_what_falls_behind(tmp_path: Path) -> None:
    engine = ScriptedEngine(completes)
    result, notices = drive(tmp_path, engine, sweep_of())
    assert [row.state for row in result.rows] == [TrialState.COMPLETE, *[TrialState.PRUNED] * 3]
    assert engine.pruned == [1, 2, 3]
    assert engine.closed
    assert set(notices.phases.values()) == {DeliveryPhase.ENDED}
    assert notices.status == "FINISHED"


def test_failures_in_a_row_with_one_reason_stop_the_study(tmp_path: Path) -> None:
    result, _ = drive(tmp_path, ScriptedEngine(fails), sweep_of(trials=10, max_consecutive_failures=3))
    assert len(result.rows) == 3
    assert "3 trials in a row" in (result.stopped_because or "")
    assert all(row.value is None for row in result.rows)


def test_failures_for_different_reasons_do_not_stop_it(tmp_path: Path) -> None:
    def varied(spec: TrialSpec) -> Iterator[Event]:
        yield TrialEnded(spec.number, TrialOutcome(state=TrialState.FAILED, reason="abcdefgh"[spec.number % 8]))

    result, _ = drive(tmp_path, ScriptedEngine(varied), sweep_of(trials=6, max_consecutive_failures=2))
    assert len(result.rows) == 6
    assert result.stopped_because is None


def test_a_trial_whose_workers_keep_dying_fails_after_its_attempts(tmp_path: Path) -> None:
    result, _ = drive(tmp_path, ScriptedEngine(dies), sweep_of(trials=1))
    (row,) = result.rows
    assert row.value is None
    assert "SIGKILL" in (row.reason or "")
    assert str(MAX_ATTEMPTS) in (row.reason or "")


def test_an_epoch_on_disk_that_a_dead_worker_never_told_of_is_known_to_the_study(tmp_path: Path) -> None:
    """MLflow may have it from the disk already, and both are to agree."""

    def dies_before_it_tells(spec: TrialSpec) -> Iterator[Event]:
        folder = Workspace(tmp_path).study("s").trial(spec.number)
        folder.path.mkdir(parents=True, exist_ok=True)
        values = {"val/accuracy": 0.5, "time/epoch_s": 3.0, "time/features_s": 0.5}
        told = [EpochMetrics(epoch=number, values=values, timestamp_ms=number) for number in (1, 2)]
        write_history(folder.history, told)
        yield EpochFinished(spec.number, told[0])
        yield WorkerDied(spec.number, "its worker was killed by SIGKILL")

    result, _ = drive(tmp_path, ScriptedEngine(dies_before_it_tells), sweep_of(trials=1))
    assert (result.rows[0].state, result.rows[0].reason) == (
        TrialState.FAILED,
        f"its worker was killed by SIGKILL, {MAX_ATTEMPTS} times",
    )
    assert (result.rows[0].epochs, result.rows[0].seconds) == (2, 7.0)
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{Workspace(tmp_path).optuna_database}")
    assert sorted(study.trials[0].intermediate_values) == [1, 2]


def test_workers_that_cannot_start_stop_the_study_with_their_reason(tmp_path: Path) -> None:
    class Broken(ScriptedEngine):
        def events(self, timeout_s: float) -> Iterator[Event]:
            yield WorkerDied(None, "its worker ended with exit code 1: no such device")
            yield SlotRetired("its worker ended with exit code 1: no such device", left=0)

    engine = Broken(completes)
    with pytest.raises(StudyError, match="no such device"):
        drive(tmp_path, engine, sweep_of())
    assert engine.closed


def test_a_slot_in_which_no_worker_can_start_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    class HalfBroken(ScriptedEngine):
        told = False

        def events(self, timeout_s: float) -> Iterator[Event]:
            if not self.told:
                self.told = True
                yield SlotRetired("cuda:1 cannot train: its memory is full", left=1)
            yield from super().events(timeout_s)

    watching = Silent()
    result, _ = drive(tmp_path, HalfBroken(completes), sweep_of(trials=2), observer=watching)
    assert all(row.state.ended and row.state is not TrialState.FAILED for row in result.rows)
    assert watching.retired == [("cuda:1 cannot train: its memory is full", 1)]


def test_a_timeout_starts_no_more_trials_and_counts_over_restarts(tmp_path: Path) -> None:
    result, _ = drive(tmp_path, ScriptedEngine(completes), sweep_of(timeout=1e-9))
    assert result.rows == []
    assert "used up" in (result.stopped_because or "")
    more, _ = drive(tmp_path, ScriptedEngine(completes), sweep_of(timeout=600))
    assert len(more.rows) == 4


def test_trials_that_have_begun_are_finished_though_the_time_is_used_up(tmp_path: Path) -> None:
    def breaks(spec: TrialSpec) -> Iterator[Event]:
        yield epoch(spec, 1, 0.5)
        raise StudyError("the machine is lost")

    lives = iter((dies, completes))
    with pytest.raises(StudyError):
        drive(tmp_path, ScriptedEngine(breaks), sweep_of())
    result, _ = drive(tmp_path, ScriptedEngine(lambda spec: next(lives)(spec)), sweep_of(timeout=1e-9))
    assert [row.state for row in result.rows] == [TrialState.COMPLETE], "and no other trial begins"
    assert "used up" in (result.stopped_because or "")


def test_the_time_used_is_stored_while_a_study_runs_and_where_it_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "COUNT_S", 0.0)
    known: list[float] = []

    def breaks(spec: TrialSpec) -> Iterator[Event]:
        for number in (1, 2, 3):
            known.append(stored(tmp_path).seconds_used)
            yield epoch(spec, number, 0.5)
        raise DiskError("the disk is full")

    with pytest.raises(DiskError):
        drive(tmp_path, ScriptedEngine(breaks), sweep_of())
    assert 0.0 < known[-1] < stored(tmp_path).seconds_used


def test_a_search_ends_where_no_gain_is_likely_and_says_so_and_starts_no_more_later(tmp_path: Path) -> None:
    sweep = sweep_of(trials=40, stop_when={"gain": 5.0})
    sweep = sweep.model_copy(update={"pruner": NoPrunerConfig(name="none")})
    result, _ = drive(tmp_path, ScriptedEngine(completes), sweep)
    assert [row.state for row in result.rows] == [TrialState.COMPLETE] * 20
    assert result.stopped_because is not None
    assert result.stopped_because.startswith("no further trial is likely to be better by 5 in val/accuracy: the bound")
    again, _ = drive(tmp_path, ScriptedEngine(completes), sweep)
    assert len(again.rows) == 20
    small = sweep_of(trials=24, stop_when={"gain": 1e-9}).model_copy(update={"pruner": NoPrunerConfig(name="none")})
    (tmp_path / "other").mkdir()
    assert len(drive(tmp_path / "other", ScriptedEngine(completes), small)[0].rows) == 24


def test_an_error_in_between_leaves_nothing_marked_as_running(tmp_path: Path) -> None:
    def breaks(spec: TrialSpec) -> Iterator[Event]:
        yield epoch(spec, 1, 0.5)
        raise StudyError("the disk is full")

    with pytest.raises(StudyError, match="disk"):
        drive(tmp_path, ScriptedEngine(breaks), sweep_of())
    assert [row.state for row in stored(tmp_path).rows()] == [TrialState.WAITING]


def test_a_disk_that_is_full_as_an_interrupted_sweep_ends_is_told_and_leaves_nothing_running(tmp_path: Path) -> None:
    def interrupted(spec: TrialSpec) -> Iterator[Event]:
        yield epoch(spec, 1, 0.5)
        os.kill(os.getpid(), signal.SIGINT)
        yield epoch(spec, 2, 0.6)

    def full(*_: Any) -> None:
        raise DiskError("the disk is full")

    with pytest.raises(DiskError, match="full"):
        drive(tmp_path, ScriptedEngine(interrupted), sweep_of(), summary=full)
    assert [row.state for row in stored(tmp_path).rows()] == [TrialState.WAITING]


def test_a_storage_that_fails_as_a_trial_ends_is_told_and_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_once(*_: Any, **__: Any) -> None:
        monkeypatch.undo()
        raise OperationalError("tell", None, Exception("database or disk is full"))

    def ends(spec: TrialSpec) -> Iterator[Event]:
        monkeypatch.setattr(optuna.Study, "tell", fails_once)
        yield from completes(spec)

    with pytest.raises(StudyError, match="disk is full"):
        drive(tmp_path, ScriptedEngine(ends), sweep_of())
    assert [row.state for row in stored(tmp_path).rows()] == [TrialState.WAITING]


def stored(folder: Path) -> StudyStore:
    return StudyStore.load(f"sqlite:///{Workspace(folder).optuna_database}", "s")
