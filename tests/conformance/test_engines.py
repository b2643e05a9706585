"""What the driver relies on, of every engine. A new one is one line in ENGINES."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from sweeper.config.engine import RayConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines.local import LocalEngine
from sweeper.engines.protocol import Engine, EpochFinished, Event, SlotRetired, TrialEnded, WorkerDied, WorkerReady
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, TrialState, read_history, read_outcome
from tests.functional.program import workers_of
from tests.pictures import write_split_folders
from tests.training.learnable import spec_of

Start = Callable[[SweepConfig, Workspace], Engine]
"""Starts an engine with one slot."""


def start_ray(sweep: SweepConfig, workspace: Workspace) -> Engine:
    """Start a slot on a Ray cluster of this machine alone, which ends with the engine."""
    pytest.importorskip("ray", reason="Ray is not installed: make chaos-cluster does it")
    from sweeper.engines.cluster.engine import RayEngine

    config = RayConfig(name="ray", address="local", node_folder=str(workspace.root / "node"))
    return RayEngine(sweep, workspace, config, most=1)


ENGINES: dict[str, Start] = {
    "local": lambda sweep, workspace: LocalEngine(sweep, workspace, workers=1),
    "ray": start_ray,
}
SLOW = {"ray"}

PATIENCE_S = 120.0
Kind = TypeVar("Kind", bound=Event)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in ENGINES])
def start(request: pytest.FixtureRequest) -> Start:
    return ENGINES[request.param]


@pytest.fixture
def sweep(tmp_path: Path) -> SweepConfig:
    content = {
        "study": "s",
        "dataset": {"path": str(write_split_folders(tmp_path / "images"))},
        "search": {"backbone": "test_resnet"},
        "device": "cpu",
    }
    return SweepConfig.model_validate(content)


@pytest.fixture
def engine(start: Start, sweep: SweepConfig, tmp_path: Path) -> Iterator[Engine]:
    with closing(start(sweep, Workspace(tmp_path))) as engine:
        next_of(engine, WorkerReady)
        yield engine


def next_of(engine: Engine, kind: type[Kind]) -> Kind:
    """Return the next event of a kind; epochs on the way are answered with `go on`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for event in engine.events(1):
            if isinstance(event, kind):
                return event
            if isinstance(event, EpochFinished):
                engine.answer(event.number, prune=False)
    raise AssertionError(f"no {kind.__name__} within {PATIENCE_S} s")


def test_no_slot_is_idle_before_its_worker_is_ready(start: Start, sweep: SweepConfig, tmp_path: Path) -> None:
    with closing(start(sweep, Workspace(tmp_path))) as engine:
        assert engine.idle == 0
        next_of(engine, WorkerReady)
        assert engine.idle == 1


def test_every_epoch_is_reported_then_the_end_which_is_on_disk(engine: Engine, tmp_path: Path) -> None:
    engine.submit([spec_of(epochs=2)])
    assert engine.idle == 0
    told: list[EpochMetrics] = []
    ended: TrialEnded | None = None
    while ended is None:
        for event in engine.events(1):
            if isinstance(event, EpochFinished):
                told.append(event.metrics)
                engine.answer(event.number, prune=False)
            elif isinstance(event, TrialEnded):
                ended = event
    assert [metrics.epoch for metrics in told] == [1, 2]
    assert ended.outcome.state is TrialState.COMPLETE
    assert engine.idle == 1
    folder = Workspace(tmp_path).study("s").trial(0)
    assert read_history(folder.history) == told
    assert read_outcome(folder.outcome) == ended.outcome
    assert not folder.checkpoint.exists()


def test_a_trial_that_has_ended_is_reported_again_and_not_trained_again(engine: Engine) -> None:
    engine.submit([spec_of(epochs=1)])
    ended = next_of(engine, TrialEnded)
    engine.submit([spec_of(epochs=1)])
    assert next_of(engine, TrialEnded) == ended  # its seconds and time stamp too


def test_a_trial_that_is_answered_with_prune_ends_as_pruned_after_that_epoch(engine: Engine) -> None:
    engine.submit([spec_of(epochs=50)])
    next_of(engine, EpochFinished)
    engine.answer(0, prune=True)
    outcome = next_of(engine, TrialEnded).outcome
    assert (outcome.state, outcome.epochs) == (TrialState.PRUNED, 1)
    assert engine.idle == 1


def test_a_trial_that_pauses_frees_its_slot_and_goes_on_later_as_if_it_had_not(engine: Engine, tmp_path: Path) -> None:
    whole, halved = spec_of(number=0, epochs=3), spec_of(number=1, epochs=3)
    engine.submit([whole])
    expected = next_of(engine, TrialEnded).outcome
    engine.submit([halved.model_copy(update={"pause_after": 2})])
    paused = next_of(engine, TrialEnded)
    assert (paused.number, paused.outcome.state, paused.outcome.epochs) == (1, TrialState.PAUSED, 2)
    assert engine.idle == 1
    folder = Workspace(tmp_path).study("s").trial(1)
    assert folder.checkpoint.exists()
    assert not folder.outcome.exists()
    assert (folder.weights_of(paused.outcome.best_epoch or 0)).exists()
    engine.submit([halved])
    ended = next_of(engine, TrialEnded).outcome
    assert (ended.state, ended.epochs) == (TrialState.COMPLETE, 3)
    assert ended.best_metrics == expected.best_metrics
    assert not folder.checkpoint.exists()


def test_more_workers_start_and_of_too_many_none_leaves_its_trial(engine: Engine) -> None:
    engine.submit([spec_of(number=0, epochs=3)])
    next_of(engine, EpochFinished)
    try:
        engine.resize(2)
    except StudyError as refused:
        pytest.skip(f"it has one worker and says so: {refused}")
    next_of(engine, WorkerReady)
    assert engine.idle == 1
    engine.submit([spec_of(number=1, epochs=1)])
    engine.resize(1)
    engine.answer(0, prune=False)
    ended = {next_of(engine, TrialEnded).number for _ in range(2)}
    assert ended == {0, 1}
    while engine.idle == 0:
        next_of(engine, WorkerReady)  # with all cores
    engine.submit([spec_of(number=2, epochs=1)])
    assert engine.idle == 0, "one slot is left"
    assert next_of(engine, TrialEnded).outcome.state is TrialState.COMPLETE


def test_a_trial_that_cannot_be_built_fails_with_its_reason_and_the_slot_goes_on(engine: Engine) -> None:
    engine.submit([spec_of(backbone="no_such_network")])
    outcome = next_of(engine, TrialEnded).outcome
    assert outcome.state is TrialState.FAILED
    assert "no_such_network" in str(outcome.reason)
    engine.submit([spec_of(number=1, epochs=1)])
    assert next_of(engine, TrialEnded).outcome.state is TrialState.COMPLETE


def test_a_worker_that_is_given_up_dies_for_the_reason_given(engine: Engine) -> None:
    engine.submit([spec_of(epochs=50)])
    next_of(engine, EpochFinished)
    engine.give_up(0, "it was stuck")
    died = next_of(engine, WorkerDied)
    assert (died.number, died.for_memory, died.blameless) == (0, False, False)
    assert died.reason.startswith("it was stuck")
    next_of(engine, WorkerReady)
    assert engine.idle == 1


def test_a_killed_worker_is_reported_and_replaced_and_its_trial_goes_on_from_the_last_epoch(engine: Engine) -> None:
    engine.submit([spec_of(epochs=50)])
    first = next_of(engine, EpochFinished)
    kill_workers()
    died = next_of(engine, WorkerDied)
    assert died.number == 0
    assert "SIGKILL" in died.reason
    next_of(engine, WorkerReady)
    engine.submit([spec_of(epochs=2)])
    assert next_of(engine, EpochFinished).metrics == first.metrics  # with its own time
    engine.answer(0, prune=False)
    assert next_of(engine, TrialEnded).outcome.epochs == 2


def test_the_death_of_a_worker_is_reported_once_for_each_unfinished_trial_of_its_group(engine: Engine) -> None:
    engine.submit([spec_of(number=0, epochs=1), spec_of(number=1, epochs=50), spec_of(number=2, epochs=50)])
    assert next_of(engine, TrialEnded).number == 0
    assert engine.idle == 0
    assert next_of(engine, EpochFinished).number == 1
    kill_workers()
    died: list[int | None] = []
    while engine.idle == 0:
        died += [event.number for event in engine.events(1) if isinstance(event, WorkerDied)]
    assert died == [1, 2]


def test_a_slot_whose_workers_cannot_start_is_retired_with_what_they_said(
    start: Start, sweep: SweepConfig, tmp_path: Path
) -> None:
    events: list[Event] = []
    with closing(start(sweep.model_copy(update={"device": "cuda:99"}), Workspace(tmp_path))) as engine:
        deadline = time.monotonic() + PATIENCE_S
        while not (events and isinstance(events[-1], SlotRetired)) and time.monotonic() < deadline:
            events += engine.events(1)
        assert engine.idle == 0
    *deaths, retired = events
    assert {death.number for death in deaths if isinstance(death, WorkerDied)} == {None}
    assert isinstance(retired, SlotRetired)
    assert retired.left == 0
    assert "device cuda:99 was asked for" in retired.reason


def test_nothing_is_left_running_when_an_engine_is_closed_in_the_middle_of_a_trial(engine: Engine) -> None:
    engine.submit([spec_of(epochs=50)])
    next_of(engine, EpochFinished)
    engine.close()
    assert workers_of(os.getpid()) == []


def kill_workers() -> None:
    found = workers_of(os.getpid())
    assert found
    for process in found:
        process.kill()
