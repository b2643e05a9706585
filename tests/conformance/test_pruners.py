"""What every pruner does, of all that `pruner:` may name; a new one is found by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import optuna
import pytest
from pydantic import TypeAdapter

from sweeper.config.pruner import PrunerConfig
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialOutcome, TrialState
from sweeper.search.pruners import build_pruner
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial

ENDS_NOTHING = {"none", "promote"}
"""Pruners that end no trial while it runs; promote pauses all of them (tests/search/test_promotion.py)."""

EPOCHS = 9
NAMES = [str(get_args(kind.model_fields["name"].annotation)[0]) for kind in get_args(get_args(PrunerConfig)[0])]
RISING = [0.5 + 0.05 * epoch for epoch in range(EPOCHS)]
LEVEL = [0.5] * EPOCHS
HOPELESS = [0.1 - 0.01 * epoch for epoch in range(EPOCHS)]
CURVES = [RISING] * 6 + [HOPELESS] * 3
Decisions = list[list[bool]]


@pytest.fixture(params=NAMES, scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def sweep_of(pruner: str | dict[str, Any], direction: str = "maximize", before: int = 0) -> SweepConfig:
    return SweepConfig.model_validate(
        {
            "study": "s",
            "dataset": {"builtin": "digits"},
            "budget": {"trials": len(CURVES), "epochs": before + EPOCHS},
            "sampler": "random",
            "pruner": pruner,
            "objective": {"metric": "val/accuracy" if direction == "maximize" else "val/loss"},
            "search": {"backbone": "r", "drop_rate": {"float": [0, 0.5]}},
        }
    )


def decisions(
    url: str, sweep: SweepConfig, curves: list[list[float]], *, reload: bool = False, before: int = 0
) -> Decisions:
    """Report curves, one a trial, and return the answers; with `reload` the driver dies once in every trial.

    `before`: epochs of the trial that all of them go on from.
    """
    store = StudyStore.create_or_load(url, sweep, before=before)
    found: Decisions = []
    for number, curve in enumerate(curves):
        assert next_trial(store) is not None
        answers: list[bool] = []
        for epoch, value in enumerate(curve, before + 1):
            if reload and epoch == 1 + number % 3:
                store.close()
                store = StudyStore.create_or_load(url, sweep)
                assert store.requeue_interrupted() == [number]
                assert next_trial(store) is not None
                assert [store.report(number, past, curve[past - 1]) for past in range(1, epoch)] == answers
            answers.append(store.report(number, epoch, value))
            assert store.report(number, epoch, value) is answers[-1]  # reported again, it is answered alike
            if answers[-1]:
                break
        store.finish(number, outcome_of(curve[: len(answers)], pruned=answers[-1]))
        found.append(answers)
    store.close()
    return found


def outcome_of(values: list[float], *, pruned: bool) -> TrialOutcome:
    state = TrialState.PRUNED if pruned else TrialState.COMPLETE
    return TrialOutcome(state=state, epochs=len(values), best_epoch=1, best_value=max(values))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


@pytest.fixture(scope="module")
def answered(name: str, tmp_path_factory: pytest.TempPathFactory) -> Decisions:
    """What a pruner answers to CURVES in a study that is never interrupted."""
    return decisions(f"sqlite:///{tmp_path_factory.mktemp('whole') / 'optuna.db'}", sweep_of(name), CURVES)


@pytest.mark.parametrize("epochs", [1, 2, EPOCHS, 300])
def test_a_pruner_is_built_by_its_name_alone_for_trials_of_any_length(name: str, epochs: int) -> None:
    config: PrunerConfig = TypeAdapter(PrunerConfig).validate_python(name)
    assert isinstance(build_pruner(config, epochs), optuna.pruners.BasePruner)
    assert isinstance(build_pruner(config, epochs), optuna.pruners.NopPruner) is (name in ENDS_NOTHING)


@pytest.mark.parametrize("curve", [LEVEL, RISING[::-1]], ids=["level", "falling"])
def test_the_only_trial_is_never_ended(name: str, curve: list[float], url: str) -> None:
    assert decisions(url, sweep_of(name), [curve]) == [[False] * EPOCHS]


def test_a_hopeless_trial_is_ended_and_a_good_one_is_not(name: str, answered: Decisions) -> None:
    assert not any(any(answers) for answers in answered[:6])  # those that set the standard
    assert any(any(answers) for answers in answered[6:]) is (name not in ENDS_NOTHING)


def test_a_lower_loss_is_better_for_a_pruner_too(name: str, answered: Decisions, url: str) -> None:
    losses = [[-value for value in curve] for curve in CURVES]
    assert decisions(url, sweep_of(name, "minimize"), losses) == answered


def test_the_last_epoch_of_the_budget_ends_no_trial(name: str, url: str) -> None:
    late = [*RISING[:-1], -1.0]
    found = decisions(url, sweep_of(name), [RISING] * 6 + [late] * 2)
    assert not any(answers[-1] for answers in found if len(answers) == EPOCHS)


def test_a_study_that_is_loaded_anew_in_every_trial_has_the_same_decisions(
    name: str, answered: Decisions, url: str
) -> None:
    assert decisions(url, sweep_of(name), CURVES, reload=True) == answered


WAITING: dict[str, dict[str, Any]] = {
    "median": {"warmup_epochs": 4, "interval_epochs": 2},
    "percentile": {"warmup_epochs": 4, "interval_epochs": 2},
    "successive_halving": {"min_epochs": 2, "reduction_factor": 2},
    "hyperband": {"min_epochs": 2, "reduction_factor": 2},
    "patient": {"pruner": {"name": "median", "warmup_epochs": 6}},
    "plateau": {"first_epochs": 2, "phase_epochs": 3},
}


def test_trials_that_go_on_from_another_one_are_judged_by_their_own_epochs(name: str, tmp_path: Path) -> None:
    pruner = {"name": name, **WAITING.get(name, {})}
    alone, going_on = (f"sqlite:///{tmp_path / file}" for file in ("alone.db", "going_on.db"))
    expected = decisions(alone, sweep_of(pruner), CURVES)
    assert decisions(going_on, sweep_of(pruner, before=5), CURVES, before=5) == expected
