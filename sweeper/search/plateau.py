"""A pruner that compares trials at the ends of their phases, not at equal epochs.

A learning rate that is reduced on a plateau falls at another epoch in every trial, and the learning
curve jumps when it does: at an equal epoch one trial has had its jump and another has it still before
it. A phase ends when a reduction has had time to show its effect; a pruner that is wrapped counts phases
where it would count epochs. docs/pruning.md has what this rests on.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.search.replay import with_storage

LEARNING_RATES = "learning_rates"
"""User attribute of a trial: `{epoch: the rate from this epoch on}`, for the epochs at which it changed."""

SHARP = 0.75
"""A reduction leaves at most this share of the rate of the epoch before; a cosine seldom falls so fast."""

COMPETING = (OptunaState.COMPLETE, OptunaState.PRUNED, OptunaState.RUNNING, OptunaState.WAITING)

Rates = Mapping[str, float]


def with_rate(rates: Rates, epoch: int, rate: float) -> dict[str, float]:
    """Return the learning rates of a trial and that of its next epoch, which is left out where nothing changes."""
    latest = max(map(int, rates), default=None)
    if latest is not None and rates[str(latest)] == rate:
        return dict(rates)
    return {**rates, str(epoch): rate}


def reductions(rates: Rates) -> list[int]:
    """Return the epochs, from 1, that were the first at a sharply lower learning rate."""
    changes = sorted((int(epoch), rate) for epoch, rate in rates.items())
    return [epoch for (_, before), (epoch, rate) in pairwise(changes) if rate <= SHARP * before]


@dataclass(frozen=True)
class Phases:
    """When the phases of a trial end, in epochs from 1; it follows from the learning rates alone.

    The first ends after `first_epochs`. After that one ends `grace_epochs` epochs after each reduction of
    the rate. A trial whose rate is not reduced is not left alone for that: by epoch n * `phase_epochs`
    n further phases have ended in any trial.
    """

    first_epochs: int
    phase_epochs: int
    grace_epochs: int

    def ends(self, reduced_at: Sequence[int], epochs: int) -> dict[int, int]:
        """Return how many phases have ended, by the epochs up to `epochs` at which one does."""
        shown = [epoch + self.grace_epochs - 1 for epoch in reduced_at]
        further = [
            min(shown[index] if index < len(shown) else epochs, (index + 1) * self.phase_epochs)
            for index in range(max(len(shown), epochs // self.phase_epochs))
        ]
        ends = sorted(epoch for epoch in (self.first_epochs, *further) if epoch <= epochs)
        return {epoch: count for count, epoch in enumerate(ends, 1)}


class PlateauPruner(optuna.pruners.BasePruner):
    """Shows another pruner phases in place of epochs, and asks it when one ends.

    It is asked once about a phase, in order, so that a rung of successive halving or Hyperband is decided
    at the end of the phase and neither lost nor put off.
    """

    def __init__(self, wrapped: optuna.pruners.BasePruner, phases: Phases):
        self._wrapped = wrapped
        self._phases = phases

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        epoch = trial.last_step
        if epoch is None or epoch not in self._phases.ends(reductions(_rates(trial)), epoch):
            return False
        view = PhaseView(study._storage, self._phases, study.direction, trial.number)
        return bool(self._wrapped.prune(with_storage(study, view), view.in_phases(trial)))


class PhaseView:
    """A storage as the trial that is judged competes in it.

    Its trials have a value a phase in place of one an epoch: the best up to its end. All others that have not failed
    count as complete once a phase of theirs has ended; before that they are not among its trials. What is compared is a
    phase that has ended: to leave out trials that were pruned after it, as at equal epochs, would leave only the best
    to compare with.
    """

    def __init__(self, storage: Any, phases: Phases, direction: StudyDirection, judged: int):
        self._judged = judged
        self._storage = storage
        self._phases = phases
        self._best = max if direction == StudyDirection.MAXIMIZE else min

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Collection[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        wanted = None if states is None else {*COMPETING, *states} if OptunaState.COMPLETE in states else states
        trials = self._storage.get_all_trials(study_id, deepcopy, wanted)
        shown = (self.in_phases(trial) for trial in trials if trial.number != self._judged)
        return [trial for trial in shown if trial.intermediate_values]

    def in_phases(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a shallow copy of a trial that counts phases."""
        reported = trial.intermediate_values
        ends = self._phases.ends(reductions(_rates(trial)), max(reported, default=0))
        shown = copy.copy(trial)
        shown.intermediate_values = {
            phase: self._best(value for epoch, value in reported.items() if epoch <= end) for end, phase in ends.items()
        }
        return shown


def _rates(trial: FrozenTrial) -> Rates:
    rates: Rates = trial.user_attrs.get(LEARNING_RATES, {})
    return rates
