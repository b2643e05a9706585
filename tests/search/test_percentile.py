"""The percentile pruner that gathers what finished trials have reported decides as Optuna's does."""

from __future__ import annotations

import math
import random
from typing import Any

import optuna
import pytest
from optuna.pruners import PercentilePruner
from optuna.trial import TrialState, create_trial

from sweeper.config.pruner import MedianConfig, PatientConfig, PercentileConfig, PlateauConfig
from sweeper.search.percentile import ColumnPercentilePruner
from sweeper.search.pruners import build_pruner, build_study_pruner

EPOCHS = 6


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("options", [(50.0, 3, 0, 1), (25.0, 0, 2, 1), (70.0, 5, 1, 2)])
def test_every_decision_is_that_of_optuna(direction: Any, options: tuple[Any, ...]) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    dice, decisions = random.Random(f"{direction} {options}"), []
    study = optuna.create_study(direction=direction)
    ours, theirs = ColumnPercentilePruner(*options), PercentilePruner(*options)
    for _ in range(60):
        reported = {step: drawn(dice) for step in range(1, dice.randint(1, EPOCHS) + 1)}
        running = create_trial(state=TrialState.RUNNING, intermediate_values=reported)
        decisions.append(ours.prune(study, running))
        assert decisions[-1] == theirs.prune(study, running)
        state = dice.choice([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED])
        study.add_trial(create_trial(state=state, value=0.5, intermediate_values=reported))
    assert set(decisions) == {True, False}


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_cross_validated_trial_is_judged_by_its_mean_so_far_and_not_by_an_easy_fold(direction: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sign = 1 if direction == "maximize" else -1
    study = optuna.create_study(direction=direction)
    for last in (0.89, 0.90, 0.91):
        finished = {1: sign * 0.95, 2: sign * last}
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=sign * last, intermediate_values=finished))
    sinking = create_trial(state=TrialState.RUNNING, intermediate_values={1: sign * 0.91, 2: sign * 0.755})
    rising = create_trial(state=TrialState.RUNNING, intermediate_values={1: sign * 0.7, 2: sign * 0.92})
    median = MedianConfig(name="median", startup_trials=1)
    by_mean = build_study_pruner(median, 5, 0, means=True)
    assert (by_mean.prune(study, sinking), by_mean.prune(study, rising)) == (True, False)
    assert not build_study_pruner(median, 5, 0).prune(study, sinking)


def drawn(dice: random.Random) -> float:
    return math.nan if dice.random() < 0.1 else dice.random()


@pytest.mark.parametrize("percentile", [25.0, 80.0])
def test_a_percentile_of_the_search_space_is_the_pruner_s(percentile: float) -> None:
    plain = PercentileConfig(name="percentile", percentile=percentile)
    patient: Any = build_pruner(PatientConfig(name="patient", pruner=plain), EPOCHS)
    plateau: Any = build_pruner(PlateauConfig(name="plateau", pruner=plain), EPOCHS)
    median: Any = build_pruner(MedianConfig(name="median"), EPOCHS)
    alone: Any = build_pruner(plain, EPOCHS)
    for pruner in (alone, patient._wrapped_pruner, plateau._wrapped):
        assert pruner._percentile == percentile
    assert median._percentile == 50


@pytest.mark.parametrize(("warmup", "first"), [(0, 1), (1, 2), (4, 5)])
def test_nothing_is_pruned_in_the_epochs_of_the_warm_up(warmup: int, first: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    study.add_trial(
        create_trial(state=TrialState.COMPLETE, value=0.9, intermediate_values=dict.fromkeys(range(1, 7), 0.9))
    )
    config = MedianConfig(name="median", startup_trials=1, warmup_epochs=warmup)
    pruned = []
    for epochs in range(1, EPOCHS + 1):
        running = create_trial(state=TrialState.RUNNING, intermediate_values=dict.fromkeys(range(1, epochs + 1), 0.1))
        pruned.append(build_study_pruner(config, EPOCHS, 0).prune(study, running))
    assert pruned == [epoch >= first for epoch in range(1, EPOCHS + 1)]
