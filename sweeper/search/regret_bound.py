"""How much better than the best trial any other could probably be, by which a search that has come to its end is known.

A Gaussian process is fitted to the better half of the trials; the bound is the highest value that it holds possible
anywhere, less the lowest that it holds possible for the best trial (Makarova et al., Automatic Termination for
Hyperparameter Optimization, AutoML 2022, as Optuna computes it). Only parameters that all trials have count.
"""

from __future__ import annotations

import warnings
from math import inf

import optuna
from optuna.trial import TrialState

GROWTH = 1.05
"""The bound is computed again when there are this many times as many trials, since its cost grows with their cube."""


class RegretBound:
    """The bound for one study with a single objective, computed anew as trials are completed."""

    def __init__(self, study: optuna.Study):
        self._study = study
        self._trials = 0
        self._value = inf

    def of(self, fewest: int) -> float:
        """Return the bound, in units of the objective.

        Infinite while fewer trials than `fewest` are complete, or some are queued: interrupted ones, or enqueued.
        """
        if self._study._storage.get_n_trials(self._study._study_id, (TrialState.WAITING,)):
            return inf
        count = self._study._storage.get_n_trials(self._study._study_id, (TrialState.COMPLETE,))
        if count >= max(fewest, 1) and (count < self._trials or count >= max(self._trials + 1, self._trials * GROWTH)):
            self._trials, self._value = count, self._computed()
        return self._value if self._trials >= fewest else inf

    def _computed(self) -> float:
        from optuna.terminator import RegretBoundEvaluator  # and scipy and torch with it, for studies that ask for it

        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = RegretBoundEvaluator(seed=0)
            try:
                return float(evaluator.evaluate(list(complete), self._study.direction))
            except ValueError:  # the trials have no parameter in common
                return inf
