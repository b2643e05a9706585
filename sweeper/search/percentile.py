"""Optuna's percentile pruner for studies of thousands of trials: what finished trials have reported is gathered once.

Optuna goes through all finished trials for every report. They report nothing more, so that their values at a step are
kept here, and only those of trials that have finished since are added. The decisions are the same.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.pruners._percentile import _get_best_intermediate_result_over_steps, _is_first_in_interval_step
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class ColumnPercentilePruner(optuna.pruners.PercentilePruner):
    """Optuna's pruner for one study, in which finished trials stay as they are.

    Args:
        options: Those of Optuna's.
        means: Whether trials report the mean over their folds so far: the latest value counts, not the best one.
    """

    def __init__(self, *options: Any, means: bool = False):
        super().__init__(*options)
        self._means = means
        self._columns: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
        self._gathered: set[int] = set()

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        step = trial.last_step
        if step is None or len(finished) < max(1, self._n_startup_trials) or not self._judges(step, trial):
            return False
        best_of_steps = _get_best_intermediate_result_over_steps
        reached = float(trial.intermediate_values[step] if self._means else best_of_steps(trial, study.direction))
        if np.isnan(reached):
            return True
        self._gather(finished)
        column = np.frombuffer(self._columns[step]) if self._columns[step] else np.empty(0)
        if len(column) < self._n_min_trials:
            return False
        maximizes = study.direction == StudyDirection.MAXIMIZE
        limit = float(np.nanpercentile(column, 100 - self._percentile if maximizes else self._percentile))
        return reached < limit if maximizes else reached > limit  # false where there is none, for want of numbers

    def _judges(self, step: int, trial: FrozenTrial) -> bool:
        """Tell whether trials are judged at this step."""
        if step < self._n_warmup_steps:
            return False
        steps = trial.intermediate_values.keys()
        return bool(_is_first_in_interval_step(step, steps, self._n_warmup_steps, self._interval_steps))

    def _gather(self, finished: Sequence[FrozenTrial]) -> None:
        if len(finished) == len(self._gathered):
            return
        for trial in finished:
            if trial.number not in self._gathered:
                self._gathered.add(trial.number)
                for step, value in trial.intermediate_values.items():
                    self._columns[step].append(value)
