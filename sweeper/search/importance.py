"""Which parameters the search turned out to depend on."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from sweeper.search.replay import with_storage

FEWEST_TRIALS = 8
"""Finished trials below which a ranking of parameters would be noise."""


class _Known:
    """A storage that has these trials and no others, and of several objectives the first alone."""

    def __init__(self, storage: Any, trials: list[FrozenTrial]):
        self._storage = storage
        self._trials = [_of_first_objective(trial) for trial in trials]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(self, *_: object, **__: object) -> list[FrozenTrial]:
        return self._trials


def _of_first_objective(trial: FrozenTrial) -> FrozenTrial:
    if len(trial.values) == 1:
        return trial
    found = copy.copy(trial)
    found.values = trial.values[:1]
    return found


def importances(study: optuna.Study, complete: list[FrozenTrial]) -> dict[str, float]:
    """Return the importance of each parameter, summing to 1, largest first; nothing of too few trials.

    `complete` are the study's finished trials; no more of them is needed than parameters and values.

    PED-ANOVA (Watanabe et al., 2023, arXiv 2304.10255): how far a parameter's values in the best tenth of
    the finished trials differ from those in all of them. It takes conditional parameters as well. Of several objectives
    the first counts, which ranks the trials.
    """
    if len(complete) < FEWEST_TRIALS or len({trial.values[0] for trial in complete}) == 1:
        return {}
    known = with_storage(study, _Known(study._storage, complete))
    known._directions = known._directions[:1]
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of branches with few trials: the page says what it is based on
        found = optuna.importance.get_param_importances(known, evaluator=evaluator)
    return {name: value for name, value in found.items() if math.isfinite(value)}
