"""No configuration twice: in a finite search space, the nearest one that has not been tried in place of one that has.

Samplers know of no repetition: near the end of a small space TPE suggests the best configuration again and again
(optuna#2021). In a space with a continuous range nothing comes twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import optuna
from pydantic import BaseModel

from sweeper.config.sampler import GridConfig
from sweeper.config.searched import searched
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError
from sweeper.search.grid import combinations, grid
from sweeper.search.replay import FIXED_PARAMS
from sweeper.search.samplers import trial_seed
from sweeper.search.stored_trial import CONFIG, OUTSIDE, REPEATS, RETRY_OF

Key = frozenset[tuple[str, Any]]


class Untried:
    """What a study's search space still holds."""

    def __init__(self, study: optuna.Study, sweep: SweepConfig):
        self._study = study
        self._sweep = sweep
        self._tried: dict[int, Key] = {}

    def in_place_of(self, trial: optuna.Trial) -> optuna.Trial | None:
        """Return a new trial with other parameters, where those that were drawn for it have been tried; None otherwise.

        What was asked for by name, or has been begun before, stays as it is; what was left open there may be another.
        """
        if may_repeat(self._sweep) or CONFIG in trial.user_attrs or RETRY_OF in trial.user_attrs:
            return None
        params = self._nearest(trial, dict(trial._fixed_params or {}))
        if params is None:
            return None
        storage: Any = self._study._storage
        storage.forget_drawn(trial._trial_id)
        storage.set_trial_system_attr(trial._trial_id, FIXED_PARAMS, params)
        return optuna.Trial(self._study, trial._trial_id)

    def _nearest(self, trial: optuna.Trial, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the parameters that no trial has, with most in common with those of a trial that repeats another.

        None where it repeats none, none is left with what was `given`, or the space is infinite. That it does repeat
        another though some are left is noted: they are tried by further trials.
        """
        for other in self._study.get_trials(deepcopy=False):
            if other.number not in self._tried and other.number != trial.number and other.params:
                self._tried[other.number] = key_of(other.params)
        tried, wanted = set(self._tried.values()), key_of(trial.params)
        if wanted not in tried:
            return None
        untried = [(key, params) for key, params in self._all.items() if key not in tried]
        fixed = key_of(given)
        left = [(len(wanted & key), params) for key, params in untried if fixed <= key]
        if untried and not left:
            trial.set_user_attr(REPEATS, True)
        most = max((shared for shared, _ in left), default=0)
        nearest = [params for shared, params in left if shared == most]
        return nearest[trial_seed(self._sweep.seed, trial.number) % len(nearest)] if nearest else None

    @cached_property
    def _all(self) -> dict[Key, dict[str, Any]]:
        try:
            return {key_of(found): found for found in grid(self._sweep.search, self._sweep.seed)}
        except ConfigError:  # it is infinite, or too large for anything to come twice
            return {}


def key_of(params: Mapping[str, Any]) -> Key:
    """Return what tells parameters apart; a number with a step is counted up in more than one way."""
    return frozenset(
        (name, float(f"{value:.12g}") if isinstance(value, float) else value) for name, value in params.items()
    )


def may_repeat(sweep: SweepConfig) -> bool:
    """Return whether configurations may come twice: where that is asked for, or nothing is searched but seeds."""
    return sweep.budget.repeats or not any(True for _ in searched(sweep.search))


def trials_of(sweep: SweepConfig) -> int:
    """Return how many trials a study has: those of its budget, or all that a smaller search space holds."""
    if may_repeat(sweep) and not isinstance(sweep.sampler, GridConfig):
        return sweep.budget.trials
    return min(sweep.budget.trials, count_up_to(sweep.search, sweep.budget.trials))


class Plan:
    """How many trials a study will have, less those that are retried.

    Trials that take no combination of a finite search space do not keep it from being tried whole: those that were
    made before an extension and lie outside it, and those that repeat another because they were asked for by name.
    """

    def __init__(self, study: optuna.Study, sweep: SweepConfig):
        self._study = study
        self._most = sweep.budget.trials
        self._combinations = trials_of(sweep)

    def trials(self) -> int:
        """Return their number."""
        if self._combinations == self._most:
            return self._most
        return min(self._most, self._combinations + len(self._beside))

    def take_in(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Take in what is stored of a trial that begins."""
        if self._combinations < self._most and REPEATS in attributes:
            self._beside.add(number)

    @cached_property
    def _beside(self) -> set[int]:
        known = ((trial.number, trial.user_attrs) for trial in self._study.get_trials(deepcopy=False))
        return {number for number, each in known if RETRY_OF not in each and (OUTSIDE in each or REPEATS in each)}


def count_up_to(space: BaseModel, most: int) -> int:
    """Return how many configurations a space holds, or a number of at least `most` where there are more."""
    found = 0
    try:
        for _ in combinations(space):
            found += 1
            if found >= most:
                break
    except ConfigError:  # it is infinite
        return most
    return found
