"""A driver that dies between any two writes to the study's storage leaves a study that goes on exactly."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialOutcome, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial

EPOCHS = 4
SEARCH = {
    "backbone": {"choice": ["a", "b"]},
    "weight_decay": {"float": [1e-5, 1e-2], "log": True},
    "drop_rate": {"float": [0, 0.5]},
    "optimizer": {
        "choice": [
            {"name": "adamw", "lr": {"float": [1e-4, 1e-2], "log": True}},
            {"name": "sgd", "lr": {"float": [1e-3, 1e-1], "log": True}, "momentum": {"float": [0.5, 0.95]}},
        ]
    },
}


class Killed(BaseException):
    """Stands for the death of the driver: nothing catches it."""


class DyingStorage:
    """A storage whose user dies just before its nth write."""

    def __init__(self, storage: Any, writes: int):
        self._storage = storage
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)
        if not name.startswith(("set_", "create_new_trial")):
            return method

        def write(*args: Any, **kwargs: Any) -> Any:
            if self._writes == 0:
                raise Killed
            self._writes -= 1
            return method(*args, **kwargs)

        return write


def sweep_of(sampler: str, pruner: str) -> SweepConfig:
    startup: dict[str, Any] = {"tpe": {"startup_trials": 3}, "cmaes": {"startup_trials": 2}}.get(sampler, {})
    wrapped: dict[str, Any] = {"name": "plateau", "first_epochs": 1, "phase_epochs": 2, "grace_epochs": 1}
    options: dict[str, Any] = {
        "median": {"startup_trials": 2},
        "hyperband": {"reduction_factor": 2},
        "plateau": wrapped | {"pruner": {"name": "hyperband", "reduction_factor": 2}},
        "plateau of median": wrapped | {"pruner": {"name": "median", "startup_trials": 2}},
    }.get(pruner, {})
    content: dict[str, Any] = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "budget": {"trials": 7, "epochs": EPOCHS},
        "sampler": {"name": sampler, **startup},
        "pruner": {"name": pruner} | options,
        "search": SEARCH,
    }
    return SweepConfig.model_validate(content)


def value_of(config: Any, epoch: int) -> float:
    return float(config.weight_decay * 50 + config.drop_rate - abs(epoch - 3) * 0.1 + config.optimizer.lr)


def rate_of(config: Any, epoch: int) -> float:
    """Return a learning rate that is reduced at another epoch in every trial."""
    return float(config.optimizer.lr * (0.1 if epoch > 1 + config.drop_rate * 4 else 1))


def report(store: StudyStore, spec: TrialSpec, epoch: int) -> bool:
    return store.report(spec.number, epoch, value_of(spec.config, epoch), rate_of(spec.config, epoch))


def run_to_end(store: StudyStore) -> None:
    """Do what the driver and its worker do, one trial at a time, reports of an earlier life again first."""
    store.requeue_interrupted()
    while (spec := next_trial(store)) is not None:
        values = []
        for epoch in range(1, EPOCHS + 1):
            values.append(value_of(spec.config, epoch))
            if report(store, spec, epoch):
                break
        state = TrialState.PRUNED if len(values) < EPOCHS else None
        outcome = TrialOutcome(
            state=state or TrialState.COMPLETE,
            epochs=len(values),
            best_epoch=values.index(max(values)) + 1,
            best_value=max(values),
        )
        store.finish(spec.number, outcome)


def table(store: StudyStore) -> list[Any]:
    trials = store._study.get_trials(deepcopy=False)
    rungs = [{key: value for key, value in trial.system_attrs.items() if "rung" in key} for trial in trials]
    reports = [trial.intermediate_values for trial in trials]
    rows = [(row.number, row.state, row.params, row.value, row.best_epoch, row.epochs) for row in store.rows()]
    return list(zip(rows, rungs, reports, strict=True))


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        ("tpe", "hyperband"),
        ("qmc", "hyperband"),
        ("random", "plateau"),
        pytest.param("tpe", "plateau of median", marks=pytest.mark.slow),
        pytest.param("tpe", "median", marks=pytest.mark.slow),
        pytest.param("tpe", "successive_halving", marks=pytest.mark.slow),
        pytest.param("random", "hyperband", marks=pytest.mark.slow),
        pytest.param("cmaes", "median", marks=pytest.mark.slow),
    ],
)
def test_a_driver_that_dies_between_any_two_writes_changes_nothing(tmp_path: Path, sampler: str, pruner: str) -> None:
    sweep = sweep_of(sampler, pruner)
    whole = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'whole.db'}", sweep)
    run_to_end(whole)
    assert TrialState.PRUNED in {row.state for row in whole.rows()}

    url = f"sqlite:///{tmp_path / 'broken.db'}"
    dice = random.Random(f"{sampler} {pruner}")
    deaths = 0
    while True:
        store = StudyStore.create_or_load(url, sweep)
        store._study._storage = DyingStorage(store._study._storage, dice.randrange(1, 25))  # type: ignore[assignment]
        try:
            run_to_end(store)
            break
        except Killed:
            deaths += 1
    assert deaths > 5
    assert table(StudyStore.load(url, "s")) == table(whole)


@pytest.mark.parametrize("pruner", ["successive_halving", "plateau", pytest.param("hyperband", marks=pytest.mark.slow)])
def test_a_death_between_a_completed_rung_and_its_decision_loses_no_pruning(tmp_path: Path, pruner: str) -> None:
    """The halving pruners say True once: every write of the report that prunes is tried as the last one."""
    sweep = sweep_of("random", pruner)
    whole = StudyStore.create_or_load(f"sqlite:///{tmp_path / 'whole.db'}", sweep)
    run_to_end(whole)
    pruned = next(row for row in whole.rows() if row.state is TrialState.PRUNED)
    before = tmp_path / "before.db"
    begun = StudyStore.create_or_load(f"sqlite:///{before}", sweep)
    until_the_report(begun, pruned.number, pruned.epochs)
    begun.close()  # into the one file that is copied
    for writes in range(4):
        url = f"sqlite:///{shutil.copy(before, tmp_path / f'{writes}.db')}"
        store = StudyStore.create_or_load(url, sweep)
        store.requeue_interrupted()
        spec = next_trial(store)
        assert spec is not None
        trial = store._live[spec.number]
        trial.storage = store._study._storage = DyingStorage(store._study._storage, writes)  # type: ignore[assignment]
        with pytest.raises(Killed):
            report(store, spec, pruned.epochs)
        again = StudyStore.create_or_load(url, sweep)
        again.requeue_interrupted()
        assert next_trial(again) == spec
        assert report(again, spec, pruned.epochs)


def until_the_report(store: StudyStore, number: int, epoch: int) -> None:
    """Run a study up to one epoch of one trial, which stays unreported."""
    while (spec := next_trial(store)) is not None:
        values = [value_of(spec.config, step) for step in range(1, EPOCHS + 1)]
        for step in range(1, EPOCHS + 1):
            if (spec.number, step) == (number, epoch):
                return
            if report(store, spec, step):
                break
        state = TrialState.PRUNED if step < EPOCHS else TrialState.COMPLETE
        store.finish(spec.number, TrialOutcome(state=state, epochs=step, best_epoch=1, best_value=max(values)))
