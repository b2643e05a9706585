"""The objective after each epoch as Optuna's storage keeps it, and what the pruner says of it."""

from __future__ import annotations

import optuna
from optuna.trial import FrozenTrial

from sweeper.config.pruner import PlateauConfig
from sweeper.config.sweep import SweepConfig
from sweeper.results import Cut
from sweeper.search.plateau import LEARNING_RATES, with_rate
from sweeper.search.replay import decide
from sweeper.search.stored_trial import CUT, DECISION, PRUNED_AT

CUT_AT = "epoch"
"""Beside what is stored of a cut: the epoch that it ends its trial with."""


class Reports:
    """Takes the reports of one study's trials.

    A report is what makes an epoch known, so it is written last: before it a decision leaves nothing behind and is made
    again, or stands whole in one attribute and is carried out again. The last epoch of the budget, or the last fold, is
    never a reason to prune: there is nothing left to save.
    """

    def __init__(self, study: optuna.Study, sweep: SweepConfig):
        self._study = study
        self._sweep = sweep

    def take(self, trial: optuna.Trial, epoch: int, value: float, learning_rate: float | None) -> bool:
        """Store the objective after an epoch and return whether to prune."""
        known = self._study._storage.get_trial(trial._trial_id)
        ends = known.user_attrs.get(PRUNED_AT) == epoch
        if epoch in known.intermediate_values:
            return ends
        if ends and CUT in known.user_attrs:  # an earlier version noted that before the epoch itself
            self._study._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            return True
        if self._sweep.objectives:  # Optuna neither prunes by several nor takes reports of them, but keeps them
            self._study._storage.set_trial_intermediate_value(trial._trial_id, epoch, value)
            return False
        decision = known.user_attrs.get(DECISION)
        if decision is None or decision["epoch"] != epoch:
            decision = decide(self._study, self._with_rate(trial, known, epoch, learning_rate), epoch, value)
            decision["prune"] &= epoch < self._sweep.reports
        if decision["prune"] or decision["rungs"]:
            trial.set_user_attr(DECISION, decision)
        for rung, reached in decision["rungs"].items():
            self._study._storage.set_trial_system_attr(trial._trial_id, rung, reached)
        if decision["prune"]:
            trial.set_user_attr(PRUNED_AT, epoch)
        trial.report(value, epoch)
        return bool(decision["prune"])

    def cut(self, trial: optuna.Trial, epoch: int, cut: Cut) -> None:
        """Note that a trial ends with an epoch that is known, and why; `take` says so from now on."""
        trial.set_user_attr(CUT, {**cut.model_dump(), CUT_AT: epoch})
        trial.set_user_attr(PRUNED_AT, epoch)

    def cut_of(self, trial: optuna.Trial) -> Cut | None:
        """Return why a trial was cut short, if it was; what was noted and not carried out does not count."""
        known = trial.user_attrs
        stored, ended_at = dict(known.get(CUT) or {}), known.get(PRUNED_AT)
        if not stored or stored.pop(CUT_AT, ended_at) != ended_at:
            return None
        return Cut.model_validate(stored)

    def _with_rate(self, trial: optuna.Trial, known: FrozenTrial, epoch: int, rate: float | None) -> FrozenTrial:
        """Note the learning rate of an epoch, where the pruner asks for it and it has changed."""
        rates = known.user_attrs.get(LEARNING_RATES, {})
        if rate is None or not isinstance(self._sweep.pruner, PlateauConfig) or with_rate(rates, epoch, rate) == rates:
            return known
        trial.set_user_attr(LEARNING_RATES, with_rate(rates, epoch, rate))
        return self._study._storage.get_trial(trial._trial_id)
