"""What TPE learns from in a long study: the best trials and the newest, so that a suggestion's cost stops growing.

TPE compares a model of the best trials, at most 25, with a model of all others. The best are all among those that are
shown, so that the first model is the same as with all trials; the second rests on the newest. Up to 1,000 trials
nothing is left out. What that costs in time and in quality: docs/performance.md.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from heapq import nsmallest
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweeper.search.stored_trial import paused_after

NEWEST, BEST = 900, 100
LEARNED_FROM = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


class RecentHistory:
    """A study that shows a sampler a part of its trials. Uses a part of Optuna that it does not document."""

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]):
        self._study = study
        self._trials = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, *, states: Container[TrialState] | None = None, **_: bool) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


def _as_learned(trial: FrozenTrial) -> FrozenTrial:
    """Return a paused trial as one that was pruned, so that what it has reached is learned from."""
    if paused_after(trial) is None:
        return trial
    learned = copy.copy(trial)
    learned.state = TrialState.PRUNED
    return learned


def is_infeasible(trial: FrozenTrial) -> bool:
    """Return whether a trial violates a constraint, which TPE asks before it asks whether one was pruned."""
    return any(value > 0 for value in trial.constraints.values())


def recent_history(study: optuna.Study, newest: int = NEWEST, best: int = BEST) -> Any:
    """Return a study that shows the best and the newest of its trials, which follow from the trials alone.

    One with several objectives, where many trials are best, is shown whole, but for pruned trials: TPE ranks these by
    a single objective and fails on several. Paused trials are shown as pruned.
    """
    stored = study._get_trials(deepcopy=False, states=LEARNED_FROM)
    trials = [_as_learned(trial) for trial in stored]
    if len(study.directions) > 1:
        ranked = [trial for trial in trials if trial.state is not TrialState.PRUNED or is_infeasible(trial)]
        return study if len(ranked) == len(trials) else RecentHistory(study, ranked)
    if len(trials) <= newest + best:
        paused = any(shown is not trial for shown, trial in zip(trials, stored, strict=True))
        return RecentHistory(study, trials) if paused else study
    sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
    complete = (trial for trial in trials[:-newest] if trial.state == TrialState.COMPLETE)
    leaders = nsmallest(best, complete, key=lambda trial: sign * trial.values[0])
    return RecentHistory(study, [*sorted(leaders, key=lambda trial: trial.number), *trials[-newest:]])
