"""How much better than the best trial any other could probably be, by which a search that has come to its end is known.

A Gaussian process is fitted to the better half of the trials; the bound is the highest value that it holds possible
anywhere, less the lowest that it holds possible for the best trial (Makarova et al., Automatic Termination for
Hyperparameter Optimization, AutoML 2022, as Optuna computes it). Only parameters that all trials have count.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile
from math import ceil, inf

import optuna
from optuna.trial import TrialState

EVER = datetime.min

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
        due = max(takewhile(lambda due: due <= count, _due(fewest)), default=0)
        if due != self._trials:
            self._trials, self._value = due, self._of_first(due) if due else inf
        return self._value

    def _of_first(self, count: int) -> float:
        """Return the bound by the trials that were complete first, so that an interruption changes nothing."""
        from optuna.terminator import RegretBoundEvaluator  # and scipy and torch with it, for studies that ask for it

        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        complete = sorted(complete, key=lambda trial: (trial.datetime_complete or EVER, trial.number))[:count]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            evaluator = RegretBoundEvaluator(seed=0)
            try:
                return float(evaluator.evaluate(complete, self._study.direction))
            except ValueError:  # the trials have no parameter in common
                return inf


def _due(fewest: int) -> Iterator[int]:
    """Yield the numbers of complete trials with which the bound is computed."""
    count = max(fewest, 1)
    while True:
        yield count
        count = max(count + 1, ceil(count * GROWTH))
