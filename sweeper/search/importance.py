"""Which parameters the search turned out to depend on."""

from __future__ import annotations

import math
import warnings

import optuna
from optuna.trial import TrialState

FEWEST_TRIALS = 8
"""Finished trials below which a ranking of parameters would be noise."""


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the importance of each parameter, summing to 1, largest first; nothing of too few trials.

    PED-ANOVA (Watanabe et al., 2023, arXiv 2304.10255): how far a parameter's values in the best tenth of
    the finished trials differ from those in all of them. It takes conditional parameters as well.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST_TRIALS or len({trial.value for trial in complete}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of branches with few trials: the page says what it is based on
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: value for name, value in found.items() if math.isfinite(value)}
