"""In a long study TPE learns from its best and its newest trials."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from sweeper.search.recent_history import recent_history

SPACE = FloatDistribution(0, 1)


def study_of(values: list[float], direction: Any = "maximize") -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=direction)
    study.add_trials([create_trial(value=value, params={"x": value}, distributions={"x": SPACE}) for value in values])
    return study


def shown(study: optuna.Study) -> list[int]:
    history = recent_history(study, newest=3, best=2)
    return [trial.number for trial in history._get_trials(states=(TrialState.COMPLETE,))]


def test_a_short_study_is_shown_whole() -> None:
    study = study_of([0.1, 0.2, 0.3, 0.4, 0.5])
    assert recent_history(study, newest=3, best=2) is study


@pytest.mark.parametrize(("direction", "best"), [("maximize", [1, 3]), ("minimize", [0, 2])])
def test_of_a_long_study_the_best_and_the_newest_are_shown_in_their_order(direction: str, best: list[int]) -> None:
    assert shown(study_of([0.1, 0.9, 0.2, 0.8, 0.5, 0.5, 0.5], direction)) == [*best, 4, 5, 6]


def test_trials_that_run_are_among_the_newest() -> None:
    study = study_of([0.1, 0.9, 0.2, 0.8, 0.5, 0.5])
    study.ask()
    history = recent_history(study, newest=3, best=2)
    assert [trial.number for trial in history._get_trials()] == [1, 3, 4, 5, 6]


def test_a_study_of_several_objectives_is_shown_whole() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    study.add_trials([create_trial(values=[0.1, 0.2], params={}, distributions={}) for _ in range(9)])
    assert recent_history(study, newest=3, best=2) is study


def test_of_several_objectives_pruned_trials_are_hidden_since_tpe_fails_on_them() -> None:
    """Optuna asks for the one direction of a study as soon as it ranks a pruned trial."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    sampler = optuna.samplers.TPESampler(n_startup_trials=2, seed=0)
    for number in range(6):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        study._storage.set_trial_intermediate_value(trial._trial_id, 1, x)
        if number % 2:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, [x, x])
    history = recent_history(study)
    assert [trial.number for trial in history._get_trials()] == [0, 2, 4]
    trial = study.ask()
    frozen = study._storage.get_trial(trial._trial_id)
    with pytest.raises(RuntimeError, match="single direction"):
        sampler.sample_independent(study, frozen, "x", optuna.distributions.FloatDistribution(0, 1))
    assert 0 <= sampler.sample_independent(history, frozen, "x", optuna.distributions.FloatDistribution(0, 1)) <= 1


def test_the_model_of_the_best_trials_is_that_of_the_whole_study() -> None:
    """TPE's own split, at most 25 best trials, finds the same ones among those that are shown."""
    from optuna.samplers._tpe.sampler import _split_trials, default_gamma

    study = study_of([(number * 7919 % 1501) / 1501 for number in range(1500)])
    whole = study.get_trials(deepcopy=False)
    part = recent_history(study)._get_trials(states=(TrialState.COMPLETE,))
    assert len(part) == 1000
    best = _split_trials(study, whole, default_gamma(len(whole)))[0]
    assert _split_trials(study, part, default_gamma(len(part)))[0] == best
