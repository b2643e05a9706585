"""How much better than the best trial another could be."""

from __future__ import annotations

from math import inf
from typing import Literal

import numpy as np
import optuna
import pytest

from sweeper.search.regret_bound import RegretBound


def study_of(
    trials: int, *, direction: Literal["maximize", "minimize"] = "maximize", noise: float = 0.002
) -> optuna.Study:
    """Return a study of a smooth hill with a little noise, whose top is 0.7."""
    chance = np.random.default_rng(0)
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        value = 0.7 - (x - 0.4) ** 2 + chance.normal(0, noise)
        study.tell(trial, value if direction == "maximize" else -value)
    return study


def test_nothing_is_said_of_too_few_trials() -> None:
    assert RegretBound(study_of(19)).of(20) == inf
    assert RegretBound(study_of(20)).of(30) == inf


def test_the_bound_is_far_below_the_spread_of_the_values_and_grows_with_their_noise() -> None:
    study = study_of(60)
    spread = np.std([trial.value or 0.0 for trial in study.trials])
    assert 0 < RegretBound(study).of(20) < spread / 10
    assert RegretBound(study_of(60, noise=0.05)).of(20) > 3 * RegretBound(study).of(20)


def test_a_loss_has_the_bound_of_the_same_score() -> None:
    bounds = [RegretBound(study).of(20) for study in (study_of(30), study_of(30, direction="minimize"))]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-6)


def test_trials_without_a_parameter_in_common_say_nothing() -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(20):
        trial = study.ask()
        trial.suggest_float(f"x{number}", 0, 1)
        study.tell(trial, 0.5)
    assert RegretBound(study).of(20) == inf


def test_the_bound_is_computed_again_after_a_twentieth_more_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    study, counts = study_of(20), list[int]()
    bound = RegretBound(study)

    def of_first(count: int) -> float:
        counts.append(count)
        return 0.1

    monkeypatch.setattr(bound, "_of_first", of_first)
    for _ in range(6):
        bound.of(20)
        study.add_trial(study.trials[0])
    assert counts == [20, 21, 23, 25]


def test_the_bound_is_the_same_after_an_interruption() -> None:
    study = study_of(20)
    undisturbed = RegretBound(study)
    bound = undisturbed.of(20)
    for _ in range(4):
        trial = study.ask()
        study.tell(trial, 0.5 + trial.suggest_float("x", 0, 1) / 10)
        bound = undisturbed.of(20)  # that of 23 trials, the last one of these
    assert len(study.trials) == 24
    assert RegretBound(study).of(20) == bound


def test_queued_trials_are_made_before_the_search_ends() -> None:
    study = study_of(20)
    study.enqueue_trial({"x": 0.5})
    assert RegretBound(study).of(20) == inf
