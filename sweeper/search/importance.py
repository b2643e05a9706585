"""Which parameters the search turned out to depend on."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeper.config.pruner import PromoteConfig
from sweeper.config.sweep import SweepConfig
from sweeper.search.bulk_storage import BulkStorage
from sweeper.search.replay import with_storage

FEWEST_TRIALS = 8
"""Trials below which a ranking of parameters would be noise."""


class _Known:
    """A storage that has these trials and no others, and of several objectives one alone."""

    def __init__(self, storage: Any, trials: list[FrozenTrial], goal: int):
        self._storage = storage
        self._trials = [_of_one_objective(trial, goal) for trial in trials]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(self, *_: object, **__: object) -> list[FrozenTrial]:
        return self._trials


def _of_one_objective(trial: FrozenTrial, goal: int) -> FrozenTrial:
    if len(trial.values) == 1:
        return trial
    found = copy.copy(trial)
    found.values = [trial.values[goal]]
    return found


def importances(study: optuna.Study, bulk: BulkStorage, sweep: SweepConfig) -> dict[str, float]:
    """Return the importance of each parameter, summing to 1, largest first; nothing of too few trials.

    PED-ANOVA (Watanabe et al., 2023, arXiv 2304.10255): how far a parameter's values in the best tenth of
    the trials differ from those in all of them. It takes conditional parameters as well. All trials are those that
    finished, and where trials pause those too that did not go on, with the best that they had reached. Of several
    objectives the one counts that ranks the trials, which is the first that is no cost.
    """
    goal = next(place for place, one in enumerate(sweep.goals) if one.metric == sweep.objective.metric)
    trials = list(bulk.in_brief(study._study_id, TrialState.COMPLETE))
    if isinstance(sweep.pruner, PromoteConfig) and len(sweep.goals) == 1:
        trials += _by_their_best(bulk.in_brief(study._study_id, TrialState.PRUNED), sweep)
    if len(trials) < FEWEST_TRIALS or len({trial.values[goal] for trial in trials}) == 1:
        return {}
    known = with_storage(study, _Known(study._storage, trials, goal))
    known._directions = [known._directions[goal]]
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of branches with few trials: the page says what it is based on
        found = optuna.importance.get_param_importances(known, evaluator=evaluator)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _by_their_best(pruned: Iterable[FrozenTrial], sweep: SweepConfig) -> Iterator[FrozenTrial]:
    """Give trials that did not go on as if they had finished with the best that they had reached."""
    best = max if sweep.objective.direction == "maximize" else min
    for trial in pruned:
        reached = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
        if reached:
            trial.values, trial.state = [best(reached)], TrialState.COMPLETE
            yield trial
