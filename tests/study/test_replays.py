"""A trial that was interrupted tells its epochs again: they are neither timed nor judged anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from sweeper.engines.protocol import EpochFinished, Event, TrialEnded
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import Cut, EpochMetrics, TrialOutcome, TrialSpec, TrialState, write_history
from sweeper.search.bulk_storage import BulkStorage
from sweeper.search.queue import Queue
from sweeper.search.reports import CUT_AT, Reports
from sweeper.search.stored_trial import CUT, PRUNED_AT
from sweeper.search.study_store import StudyStore
from sweeper.study.time_limit import TimeLimit
from tests.study.test_driver import ScriptedEngine, Silent, drive, epoch, stored, sweep_of

EPOCHS = 4
EPOCH_S = 300.0


class Cutting(TimeLimit):
    """Ends every trial with the first epoch that it is asked about."""

    def __init__(self, *, again: bool = False) -> None:
        self.asked: list[int] = []
        self._again = again

    def used_up(self) -> str | None:
        return None

    def cut(self, spec: TrialSpec, metrics: EpochMetrics) -> Cut | None:
        self.asked.append(metrics.epoch)
        first = self._again and spec.number == 0
        if self._again and not first:
            return None
        return Cut(why=f"ended after epoch {metrics.epoch}", complete=not first, again=first)


class Timed(ScriptedEngine):
    """Lets time pass before each event, and the driver look around meanwhile."""

    def __init__(self, script: Callable[[TrialSpec], Iterator[Event]], clock: VirtualClock, seconds: list[float]):
        super().__init__(script)
        self._clock, self._seconds, self._waited = clock, seconds, False

    def events(self, timeout_s: float) -> Iterator[Event]:
        if self._current is None or self._waited:
            self._waited = False
            yield from super().events(timeout_s)
        else:
            self._waited = True
            self._clock.advance_to(self._clock() + (self._seconds.pop(0) if self._seconds else 0.0))


class Exact(ScriptedEngine):
    """Ends a trial that is cut with the epoch that it is in."""

    def __init__(self, script: Callable[[TrialSpec], Iterator[Event]]):
        super().__init__(script)
        self._epoch = 0

    def events(self, timeout_s: float) -> Iterator[Event]:
        for event in super().events(timeout_s):
            self._epoch = event.metrics.epoch if isinstance(event, EpochFinished) else self._epoch
            yield event

    def answer(self, number: int, *, prune: bool) -> None:
        if prune:
            outcome = TrialOutcome(state=TrialState.PRUNED, epochs=self._epoch, best_epoch=1, best_value=0.5)
            self._current = iter([TrialEnded(number, outcome)])


class Listening(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.silent: list[tuple[int, float]] = []

    def trial_silent(self, number: int, seconds: float) -> None:
        self.silent.append((number, seconds))


def trains(spec: TrialSpec) -> Iterator[Event]:
    for number in range(1, EPOCHS + 1):
        yield epoch(spec, number, 0.5)
    yield TrialEnded(spec.number, TrialOutcome(state=TrialState.COMPLETE, epochs=EPOCHS, best_epoch=1, best_value=0.5))


def breaks_after(told: int) -> Callable[[TrialSpec], Iterator[Event]]:
    def script(spec: TrialSpec) -> Iterator[Event]:
        for number in range(1, told + 1):
            yield epoch(spec, number, 0.5)
        raise StudyError("the disk is full")

    return script


@pytest.fixture(params=[2, 3], ids=["all-stored", "last-one-on-disk-only"])
def on_disk(tmp_path: Path, request: pytest.FixtureRequest) -> int:
    """Interrupt a trial after its second epoch is stored; return how many are on disk."""
    with pytest.raises(StudyError):
        drive(tmp_path, ScriptedEngine(breaks_after(2)), sweep_of(trials=1, epochs=EPOCHS))
    history = [EpochMetrics(epoch=number, values={}, timestamp_ms=number) for number in range(1, request.param + 1)]
    write_history(Workspace(tmp_path).study("s").trial(0).history, history)
    return int(request.param)


def test_seconds_in_which_epochs_are_told_again_are_not_taken_for_their_time(tmp_path: Path, on_disk: int) -> None:
    clock, watching = VirtualClock(0), Listening()
    seconds = [1.0] * on_disk + [EPOCH_S] * (EPOCHS - on_disk)
    engine = Timed(trains, clock, seconds)
    drive(tmp_path, engine, sweep_of(trials=1, epochs=EPOCHS), watching, clock=clock)
    assert not seconds
    assert watching.silent == []


def test_only_the_epoch_that_the_study_does_not_know_is_judged_by_the_time(tmp_path: Path, on_disk: int) -> None:
    limit, engine = Cutting(), ScriptedEngine(trains)
    result, _ = drive(tmp_path, engine, sweep_of(trials=1, epochs=EPOCHS), limit=limit)
    assert limit.asked == [3]
    assert engine.pruned == [0]
    assert (result.rows[0].state, result.rows[0].reason) == (TrialState.COMPLETE, "ended after epoch 3")


def test_epochs_that_are_trained_again_for_a_lost_checkpoint_are_judged_and_timed(tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        drive(tmp_path, ScriptedEngine(breaks_after(2)), sweep_of(trials=1, epochs=EPOCHS))
    before = [EpochMetrics(epoch=number, values={}, timestamp_ms=100 + number) for number in (1, 2)]
    write_history(Workspace(tmp_path).study("s").trial(0).history, before)
    limit = Cutting()
    drive(tmp_path, ScriptedEngine(trains), sweep_of(trials=1, epochs=EPOCHS), limit=limit)
    assert limit.asked == [1]


def test_a_cut_that_was_decided_stands_when_its_epoch_is_told_again(tmp_path: Path) -> None:
    class Dying(ScriptedEngine):
        def answer(self, number: int, *, prune: bool) -> None:
            raise StudyError("the machine is lost")

    with pytest.raises(StudyError):
        drive(tmp_path, Dying(trains), sweep_of(trials=1, epochs=EPOCHS), limit=Cutting())
    assert stored(tmp_path).rows()[0].epochs == 1
    again, engine = Cutting(), ScriptedEngine(trains)
    result, _ = drive(tmp_path, engine, sweep_of(trials=1, epochs=EPOCHS), limit=again)
    assert again.asked == []
    assert engine.pruned == [0]
    assert result.rows[0].reason == "ended after epoch 1"


def ends_at(tmp_path: Path, limit: Cutting) -> list[tuple[TrialState, int]]:
    """Run a study of one trial, and return how its trials end and after which epoch."""
    result, _ = drive(tmp_path, Exact(trains), sweep_of(trials=1, epochs=EPOCHS), limit=limit)
    return [(row.state, row.epochs) for row in result.rows]


TRAINED_AGAIN = [(TrialState.PRUNED, 1), (TrialState.COMPLETE, EPOCHS)]


@pytest.mark.parametrize(
    ("owner", "step"),
    [(BulkStorage, "put_intermediate_values"), (Reports, "cut"), (Queue, "again")],
    ids=["before-the-epoch-is-stored", "before-the-cut", "before-it-is-in-line-again"],
)
def test_a_trial_that_is_cut_to_be_trained_again_is_so_once_wherever_the_driver_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    def dies(*_: object) -> None:
        raise StudyError("the machine is lost")

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, dies)
        with pytest.raises(StudyError, match="lost"):
            ends_at(tmp_path, Cutting(again=True))
    ended = ends_at(tmp_path, Cutting(again=True))
    assert ended == ([(TrialState.PRUNED, 2), TRAINED_AGAIN[1]] if owner is Reports else TRAINED_AGAIN)


def test_a_cut_that_was_noted_without_its_epoch_is_carried_out(tmp_path: Path) -> None:
    sweep = sweep_of(trials=1, epochs=EPOCHS)
    with pytest.raises(StudyError):
        drive(tmp_path, ScriptedEngine(breaks_after(0)), sweep)
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{Workspace(tmp_path).optuna_database}")
    trial_id = study.trials[0]._trial_id
    study._storage.set_trial_user_attr(trial_id, CUT, Cut(why="for want of time", again=True).model_dump())
    study._storage.set_trial_user_attr(trial_id, PRUNED_AT, 1)
    assert ends_at(tmp_path, Cutting(again=True)) == TRAINED_AGAIN


def test_a_cut_of_which_only_a_part_was_noted_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(StudyError):
        drive(tmp_path, ScriptedEngine(breaks_after(1)), sweep_of(trials=1, epochs=EPOCHS))
    store = StudyStore.create_or_load(f"sqlite:///{Workspace(tmp_path).optuna_database}", sweep_of(trials=1, epochs=4))
    store.next_group(1)
    store._live[0].set_user_attr(CUT, {**Cut(why="half").model_dump(), CUT_AT: 1})
    assert store.cut_of(0) is None
    store.cut(0, 2, Cut(why="whole"))
    assert store.cut_of(0) == Cut(why="whole")
