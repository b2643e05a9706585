"""Simulated trials: what their curves follow from, and what goes wrong with their workers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.engine import SimulateConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines.protocol import EpochFinished, Event, SlotRetired, TrialEnded, WorkerDied, WorkerReady
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.engines.simulated.curves import Curve, Family, Recorded
from sweeper.engines.simulated.engine import SimulatedEngine
from sweeper.errors import ConfigError
from sweeper.paths import StudyFolder
from sweeper.results import SIMULATED, TrialSpec, TrialState, read_history, read_outcome
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial

EPOCHS = 4
CURVES = Path(__file__).parents[2] / "benchmarks" / "curves" / "digits.json"


def sweep_of(**engine: Any) -> SweepConfig:
    content = {
        "study": "s",
        "dataset": {"path": "nowhere"},
        "budget": {"trials": 20, "epochs": EPOCHS},
        "sampler": "random",
        "search": {"backbone": {"choice": ["a", "b"]}, "weight_decay": {"float": [1e-6, 1e-2], "log": True}},
        "engine": {"name": "simulate", **engine},
    }
    return SweepConfig.model_validate(content)


def engine_of(folder: Path, workers: int = 1, clock: VirtualClock | None = None, **settings: Any) -> SimulatedEngine:
    sweep = sweep_of(**settings)
    assert isinstance(sweep.engine, SimulateConfig)
    curves = Family(sweep.search, sweep.engine.seed, sweep.engine.noise)
    return SimulatedEngine(sweep, StudyFolder(folder), sweep.engine, curves, workers, clock or VirtualClock(0))


def specs(folder: Path, number: int) -> list[TrialSpec]:
    store = StudyStore.create_or_load(f"sqlite:///{folder / 'optuna.db'}", sweep_of())
    found = [next_trial(store) for _ in range(number)]
    return [spec for spec in found if spec is not None]


def until(engine: SimulatedEngine, kind: type[Event]) -> list[Event]:
    """Return all events up to one of a kind; epochs are answered with `go on`."""
    happened: list[Event] = []
    while not any(isinstance(event, kind) for event in happened):
        for event in engine.events(1e9):
            happened.append(event)
            if isinstance(event, EpochFinished):
                engine.answer(event.number, prune=False)
    return happened


def test_a_trial_leaves_and_reports_what_a_trained_one_does_in_virtual_time(tmp_path: Path) -> None:
    clock, started = VirtualClock(0), time.perf_counter()
    engine, (spec,) = engine_of(tmp_path, clock=clock, epoch="10h"), specs(tmp_path, 1)
    until(engine, WorkerReady)
    engine.submit([spec])
    assert engine.idle == 0
    *told, ended = until(engine, TrialEnded)
    assert engine.idle == 1
    assert isinstance(ended, TrialEnded)
    folder = StudyFolder(tmp_path).trial(0)
    assert [event.metrics for event in told if isinstance(event, EpochFinished)] == read_history(folder.history)
    assert read_outcome(folder.outcome) == ended.outcome
    assert (ended.outcome.state, ended.outcome.epochs) == (TrialState.COMPLETE, EPOCHS)
    assert ended.outcome.device == SIMULATED
    assert clock() > 10 * 3600 > 100 * (time.perf_counter() - started)


def test_the_curve_of_a_trial_follows_from_its_settings_and_seed_alone(tmp_path: Path) -> None:
    one, other, third = specs(tmp_path, 3)
    family = Family(sweep_of().search, 0, noise=0.01)
    curves = [family.of(spec) for spec in (one, other, one)]
    assert curves[0] == curves[2] != curves[1]
    assert Family(sweep_of().search, 1, noise=0.01).of(one) != curves[0]
    assert family.of(third) == Family(sweep_of().search, 0, noise=0.01).of(third)


def test_a_trial_follows_the_recorded_curve_whose_settings_are_nearest_to_its_own(tmp_path: Path) -> None:
    (spec,) = specs(tmp_path, 1)
    decay, backbone = spec.config.weight_decay, spec.config.backbone
    trials = [
        {"params": {"backbone": "neither", "weight_decay": decay}, "values": [0.1]},
        {"params": {"backbone": backbone, "weight_decay": decay * 1.1}, "values": [0.2, 0.3]},
        {"params": {"backbone": backbone, "weight_decay": decay * 1e6}, "values": [0.4]},
        {"params": {"backbone": backbone}, "values": [0.5]},
    ]
    file = tmp_path / "curves.json"
    file.write_text(json.dumps({"metric": "val/accuracy", "trials": trials}))
    recorded = Recorded.read(file, sweep_of().search, sweep_of().objective)
    assert recorded.of(spec) == Curve((0.2, 0.3, 0.3, 0.3))


def test_the_recorded_curves_of_the_benchmarks_can_be_followed(tmp_path: Path) -> None:
    (spec,) = specs(tmp_path, 1)
    curve = Recorded.read(CURVES, sweep_of().search, sweep_of().objective).of(spec)
    assert all(0 < value < 1 for value in curve.qualities)


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "no recorded learning curves"), ('{"metric": "val/f1", "trials": []}', "the objective is val/accuracy")],
)
def test_a_file_without_curves_of_the_objective_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (file := tmp_path / "curves.json").write_text(content)
    with pytest.raises(ConfigError, match=told):
        Recorded.read(file, sweep_of().search, sweep_of().objective)


@pytest.mark.parametrize(
    ("fault", "for_memory", "blameless"),
    [("killed", False, False), ("out_of_memory", True, False), ("machine_lost", False, True)],
)
def test_a_worker_dies_as_a_real_one_does_and_another_takes_its_place(
    tmp_path: Path, fault: str, for_memory: bool, blameless: bool
) -> None:
    engine, (spec,) = engine_of(tmp_path, faults={fault: 1.0}), specs(tmp_path, 1)
    until(engine, WorkerReady)
    engine.submit([spec])
    *_, died = until(engine, WorkerDied)
    assert isinstance(died, WorkerDied)
    assert (died.for_memory, died.blameless) == (for_memory, blameless)
    assert "(simulated)" in died.reason
    until(engine, WorkerReady)
    assert engine.idle == 1


def test_a_lost_machine_takes_all_its_workers_along(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, workers=6, workers_per_machine=4, faults={"machine_lost": 1.0})
    ready: list[Event] = []
    while len(ready) < 6:
        ready += engine.events(1e9)
    engine.submit(specs(tmp_path, 1))
    died = [event for event in until(engine, WorkerDied) if isinstance(event, WorkerDied)]
    assert [event.number for event in died] == [0, None, None, None]


def test_a_slot_whose_workers_cannot_start_is_retired(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, faults={"start": 1.0})
    *deaths, retired = until(engine, SlotRetired)
    assert [type(event) for event in deaths] == [WorkerDied] * 3
    assert isinstance(retired, SlotRetired)
    assert retired.left == 0


def test_a_silent_worker_can_be_given_up_and_its_trial_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    engine, (spec,) = engine_of(tmp_path, faults={"silent": 1.0}, silence="9h", epoch=1), specs(tmp_path, 1)
    until(engine, WorkerReady)
    engine.submit([spec])
    assert list(engine.events(3600.0)) == []
    engine.give_up(0, "it is stuck")
    assert until(engine, WorkerDied) == [WorkerDied(0, "it is stuck")]
    until(engine, WorkerReady)
    engine.submit([spec])
    first, *_ = until(engine, EpochFinished)
    engine.give_up(0, "again")
    until(engine, WorkerReady)
    engine.submit([spec])
    again, *_ = until(engine, EpochFinished)
    assert again == first


def test_probabilities_of_faults_that_add_up_to_more_than_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"add up to 1 or less, got 1\.2"):
        sweep_of(faults={"killed": 0.7, "silent": 0.5})
