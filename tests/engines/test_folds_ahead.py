"""Folds of a trial that workers without a trial train ahead: who trains a fold changes nothing of what it gives."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.engines.local import LocalEngine
from sweeper.engines.protocol import AtWork, EpochFinished, Event, FoldAhead, TrialEnded, WorkerDied, WorkerReady
from sweeper.paths import StudyFolder, TrialFolder, Workspace
from sweeper.results import TrialOutcome, TrialState, read_history
from sweeper.study.folds_ahead import FoldsAhead
from tests.pictures import write_split_folders
from tests.training.learnable import spec_of

PATIENCE_S = 120.0
FOLDS = 4


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    write_split_folders(tmp_path / "images", train=12)
    content = {
        "study": "s",
        "dataset": {"path": str(tmp_path / "images"), "folds": FOLDS},
        "search": {"backbone": "test_resnet"},
        "device": "cpu",
    }
    return SweepConfig.model_validate(content)


@pytest.fixture
def engine(sweep: SweepConfig, tmp_path: Path) -> Iterator[LocalEngine]:
    """Two workers that are ready."""
    engine = LocalEngine(sweep, Workspace(tmp_path), workers=2)
    await_both(engine)
    yield engine
    engine.close()


def await_until(engine: LocalEngine, enough: Callable[[list[Event]], bool], prune_after: int = 0) -> list[Event]:
    """Return all events until there are enough; folds are answered with `go on`, but for the one to be pruned after."""
    deadline, events = time.monotonic() + PATIENCE_S, list[Event]()
    while not enough(events):
        assert time.monotonic() < deadline, events
        for event in engine.events(0.1):
            events.append(event)
            if isinstance(event, EpochFinished):
                engine.answer(event.number, prune=event.metrics.epoch == prune_after)
    return events


def await_both(engine: LocalEngine) -> None:
    """Wait until both workers are idle."""
    await_until(engine, lambda _: engine.idle == 2)


def ended(events: list[Event]) -> TrialOutcome | None:
    return next((event.outcome for event in events if isinstance(event, TrialEnded)), None)


def has_ended(events: list[Event]) -> bool:
    return ended(events) is not None


def scores(outcome: TrialOutcome | None) -> list[tuple[float, int]]:
    assert outcome is not None
    assert outcome.state is TrialState.COMPLETE, outcome.reason
    return [(fold.value, fold.best_epoch) for fold in outcome.folds]


def other_worker(engine: LocalEngine) -> int:
    return next(slot.process.pid or 0 for slot in engine._slots if slot.ahead is not None)


def epochs_of(folder: TrialFolder) -> int:
    return len(read_history(folder.history)) if folder.history.exists() else 0


def begin(engine: LocalEngine, epochs: int, *folds: int) -> None:
    """Give a trial to one worker, and folds of it to the other, one after the other."""
    spec = spec_of(epochs)
    engine.submit([spec])
    for fold in folds:
        await_until(engine, lambda _: engine.idle > 0)
        assert engine.train_ahead(FoldAhead(spec, fold))


def test_an_epoch_of_a_fold_is_a_sign_of_life_of_its_trial(engine: LocalEngine) -> None:
    begin(engine, 1)
    assert AtWork(0) in await_until(engine, has_ended)


def test_the_folds_of_a_trial_give_the_same_whoever_trains_them(sweep: SweepConfig, tmp_path: Path) -> None:
    outcomes, logs = [], []
    for name, folds in {"alone": (), "together": (4, 3)}.items():
        workspace = Workspace(tmp_path / name)
        engine = LocalEngine(sweep, workspace, workers=2)
        try:
            await_both(engine)
            begin(engine, 3, *folds)
            outcomes.append(ended(await_until(engine, has_ended)))
        finally:
            engine.close()
        logs.append((workspace.study("s").worker_logs / "worker-1.log").read_text())
    assert scores(outcomes[0]) == scores(outcomes[1])
    assert [values(outcome) for outcome in outcomes] == [values(outcomes[0])] * 2


def values(outcome: TrialOutcome | None) -> dict[str, float]:
    assert outcome is not None
    return {name: value for name, value in outcome.best_metrics.items() if name.startswith("val/")}


def test_the_worker_of_a_trial_waits_for_a_fold_that_another_is_at_and_trains_none_twice(
    engine: LocalEngine, tmp_path: Path
) -> None:
    fold = Workspace(tmp_path).study("s").trial(0).fold(2)
    begin(engine, 20, 2)
    await_until(engine, lambda _: epochs_of(fold) > 0)
    os.kill(other_worker(engine), signal.SIGSTOP)  # so that it is still at it when the trial comes to this fold
    stopped_at = epochs_of(fold)
    (trials_worker,) = (slot.process.pid for slot in engine._slots if slot.numbers)
    await_until(engine, lambda events: any(isinstance(event, EpochFinished) for event in events))
    await_until(engine, lambda _: psutil.Process(trials_worker).status() == psutil.STATUS_DISK_SLEEP or waits(fold))
    assert epochs_of(fold) == stopped_at
    os.kill(other_worker(engine), signal.SIGCONT)
    assert len(scores(ended(await_until(engine, has_ended)))) == FOLDS


def waits(fold: TrialFolder) -> bool:
    """Return whether somebody waits for the lock of a fold, as the kernel has it."""
    inode = str(fold.lock.stat().st_ino)
    return any("->" in line and f":{inode} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_worker_that_dies_at_a_fold_leaves_it_to_that_of_the_trial(engine: LocalEngine, tmp_path: Path) -> None:
    fold = Workspace(tmp_path).study("s").trial(0).fold(4)
    begin(engine, 20, 4)
    await_until(engine, lambda _: epochs_of(fold) > 0)
    os.kill(other_worker(engine), signal.SIGKILL)
    events = await_until(engine, has_ended)
    assert len(scores(ended(events))) == FOLDS
    assert not [event for event in events if isinstance(event, WorkerDied)]  # the trial has lost nothing
    assert [event for event in events if isinstance(event, WorkerReady)]


def test_a_trial_that_is_pruned_ends_who_trains_folds_of_it_ahead(engine: LocalEngine, tmp_path: Path) -> None:
    begin(engine, 40, 4)
    fold = Workspace(tmp_path).study("s").trial(0).fold(4)
    await_until(engine, lambda _: epochs_of(fold) > 0)
    ahead = psutil.Process(other_worker(engine))
    os.kill(ahead.pid, signal.SIGSTOP)
    outcome = ended(await_until(engine, has_ended, prune_after=1))
    assert outcome is not None
    assert (outcome.state, len(outcome.folds)) == (TrialState.PRUNED, 1)
    assert not ahead.is_running()
    await_both(engine)
    engine.submit([spec_of(1, number=1)])
    assert len(scores(ended(await_until(engine, has_ended)))) == FOLDS


def test_a_worker_that_dies_takes_those_with_it_that_train_folds_of_its_trial(
    engine: LocalEngine, tmp_path: Path
) -> None:
    begin(engine, 40, 4)
    fold = Workspace(tmp_path).study("s").trial(0).fold(4)
    await_until(engine, lambda _: epochs_of(fold) > 0)
    ahead = psutil.Process(other_worker(engine))
    os.kill(next(slot.process.pid or 0 for slot in engine._slots if slot.numbers), signal.SIGKILL)
    (died,) = await_until(engine, lambda events: any(isinstance(event, WorkerDied) for event in events))
    assert isinstance(died, WorkerDied)
    assert died.number == 0
    assert not ahead.is_running()


def test_a_worker_that_is_stopped_as_it_ends_a_fold_gets_no_trial(engine: LocalEngine, tmp_path: Path) -> None:
    begin(engine, 20, 4)
    trial = Workspace(tmp_path).study("s").trial(0)
    await_until(engine, lambda _: epochs_of(trial.fold(4)) > 0)
    ahead = other_worker(engine)
    os.kill(ahead, signal.SIGSTOP)
    await_until(engine, lambda events: any(isinstance(event, EpochFinished) for event in events), prune_after=1)
    wait_without_reading(trial.outcome.exists)
    os.kill(ahead, signal.SIGCONT)
    wait_without_reading(lambda: all(slot.connection.poll() for slot in engine._slots))  # both have said it is over
    assert isinstance(next(engine.events(0)), TrialEnded)
    assert list(engine.events(0)) == []
    assert engine.idle == 1
    for number in (1, 2):
        await_until(engine, lambda _: engine.idle > 0)
        engine.submit([spec_of(1, number=number)])
    events = await_until(engine, lambda events: sum(isinstance(event, TrialEnded) for event in events) == 2)
    assert not [event for event in events if isinstance(event, WorkerDied)]


def wait_without_reading(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Slots:
    """Notes what it is asked to train ahead, as long as it has idle slots."""

    def __init__(self, idle: int, *, able: bool = True):
        self.idle, self.able = idle, able
        self.parts: list[tuple[int, int]] = []

    def train_ahead(self, part: FoldAhead) -> bool:
        self.idle -= 1
        self.parts.append((part.trial.number, part.fold))
        return self.able


def fill(ahead: FoldsAhead, slots: Slots, *numbers: int) -> list[tuple[int, int]]:
    ahead.fill(slots, [spec_of(number=number) for number in numbers])  # type: ignore[arg-type]
    return slots.parts


def end_fold(folder: StudyFolder, number: int, fold: int) -> None:
    outcome = folder.trial(number).fold(fold).outcome
    outcome.parent.mkdir(parents=True)
    outcome.touch()


def test_idle_slots_get_the_last_folds_and_the_next_one_is_left_to_the_trials_worker(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    end_fold(folder, 0, 1)
    assert fill(FoldsAhead(5, folder), Slots(9), 0) == [(0, 5), (0, 4), (0, 3)]
    assert fill(FoldsAhead(3, folder), Slots(9), 0, 1) == [(0, 3), (1, 3), (1, 2)]


def test_no_fold_is_given_twice_and_none_without_a_slot_or_without_folds(tmp_path: Path) -> None:
    ahead = FoldsAhead(4, StudyFolder(tmp_path))
    assert fill(ahead, Slots(0), 0) == []
    assert fill(ahead, Slots(2), 0) == [(0, 4), (0, 3)]
    assert fill(ahead, Slots(9), 0) == [(0, 2)]
    assert fill(ahead, Slots(9), 0) == []
    assert fill(FoldsAhead(None, StudyFolder(tmp_path)), Slots(9), 0) == []


def test_an_engine_that_cannot_is_asked_once(tmp_path: Path) -> None:
    assert fill(FoldsAhead(4, StudyFolder(tmp_path)), Slots(9, able=False), 0, 1) == [(0, 4)]


def test_folds_of_a_trial_that_has_lost_its_worker_are_given_again(tmp_path: Path) -> None:
    given: list[int] = []

    class Idle:
        idle = 3

        def train_ahead(self, part: FoldAhead) -> bool:
            given.append(part.fold)
            return True

    ahead, trial = FoldsAhead(FOLDS, StudyFolder(tmp_path)), spec_of()
    for _ in range(2):
        ahead.fill(Idle(), [trial])  # type: ignore[arg-type]
    assert given == [4, 3, 2]
    ahead.forget(trial.number)
    ahead.fill(Idle(), [trial])  # type: ignore[arg-type]
    assert given == [4, 3, 2, 4, 3, 2]
