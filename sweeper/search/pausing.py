"""Trials that pause, in Optuna's storage: for Optuna they run, so that it neither starts nor ends them."""

from __future__ import annotations

import time

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.pruner import PromoteConfig
from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError
from sweeper.results import TrialOutcome, TrialState
from sweeper.seal import sealed_text
from sweeper.search.promotion import Promotion, standings
from sweeper.search.stored_trial import (
    BEFORE,
    CONFIG,
    CUT,
    ENQUEUED,
    GOALS,
    OWN_EPOCHS,
    PAUSED,
    RETRY_OF,
    UNTIL,
    WENT_ON,
    losses_of,
    stored_json,
)


class Pausing:
    """The paused trials of one study. Of a study whose pruner pauses none there are never any."""

    def __init__(self, study: optuna.Study, sweep: SweepConfig):
        self._study = study
        self._sweep = sweep
        self._maximize = sweep.objective.direction == "maximize"
        pruner, ends = sweep.pruner, (sweep.budget.epochs, study.user_attrs.get(BEFORE, 0))
        self._promotion = Promotion(pruner, *ends) if isinstance(pruner, PromoteConfig) else None

    def next(self, *, last: bool, one: bool = False) -> int | None:
        """Return the number of the paused trial that is to go on; arguments as of `Promotion.next`."""
        if self._promotion is None:
            return None
        trials = self._study.get_trials(deepcopy=False)
        return self._promotion.next(standings(trials, maximize=self._maximize), last=last, one=one)

    def paused_to_finish(self) -> int | None:
        """Return which paused trial goes on where no more start and none is complete, so that there is a winner."""
        if self._study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,)):
            return None
        return self.next(last=True, one=True)

    def begin(self, trial: optuna.Trial) -> None:
        """Note where a trial is to pause; one that was interrupted keeps to what was noted.

        The first trial of a study does not pause where it was queued: it is thought good, and a whole model is
        there early. Nor does the one that stands for it, where it was cut short for that.
        """
        if self._promotion is not None and UNTIL not in trial.user_attrs:
            stored = self._study._storage.get_trial(trial._trial_id)
            whole = self._is_first_queued(trial)
            trial.set_user_attr(UNTIL, self._own_end(stored) if whole else self._until(stored, self._promotion))

    def _is_first_queued(self, trial: optuna.Trial) -> bool:
        if 0 not in (trial.number, trial.user_attrs.get(RETRY_OF)):
            return False
        first = self._study.get_trials(deepcopy=False)[0].user_attrs
        return ENQUEUED in first and (trial.number == 0 or first.get(CUT, {}).get("again", False))

    def _until(self, trial: FrozenTrial, promotion: Promotion) -> int:
        """Return where a trial pauses next, or its own end, which may be later than that of others."""
        until = promotion.after(_epochs(trial))
        return self._own_end(trial) if until == self._sweep.budget.epochs else until

    def _own_end(self, trial: FrozenTrial) -> int:
        return int(trial.user_attrs.get(OWN_EPOCHS, self._sweep.budget.epochs))

    def take_up(self, number: int) -> optuna.Trial:
        """Return a trial that is paused, to write to it. What the study samples by is put aside."""
        trial_id = self._study._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        self._study.sampler = optuna.samplers.RandomSampler()  # its parameters are known
        return optuna.Trial(self._study, trial_id)

    def go_on(self, trial: optuna.Trial) -> TrialConfig:
        """Let a paused trial go on to the next rung, and return what it is. Raises StudyError."""
        stored = self._study._storage.get_trial(trial._trial_id)
        config = stored_json(stored, CONFIG)
        if self._promotion is None or config is None:
            raise StudyError(f"the study storage holds no settings of trial {trial.number}; `sweeper doctor` says more")
        trial.set_user_attr(UNTIL, self._until(stored, self._promotion))
        if (paused := stored_json(stored, PAUSED)) is not None:
            seconds = TrialOutcome.model_validate_json(paused).seconds
            trial.set_user_attr(WENT_ON, {"at": time.time(), "seconds": seconds})
        trial.set_user_attr(PAUSED, None)  # last: before it nothing has changed
        return TrialConfig.model_validate_json(config)

    def pause(self, trial: optuna.Trial, outcome: TrialOutcome) -> None:
        """Note what a trial has reached that pauses."""
        if (losses := losses_of(self._sweep, outcome)) is not None:
            trial.set_user_attr(GOALS, {**trial.user_attrs.get(GOALS, {}), str(outcome.epochs): losses})
        trial.set_user_attr(PAUSED, sealed_text(outcome.model_dump_json()))

    def ends(self, why: str | None = None) -> dict[int, TrialOutcome]:
        """Return how each paused trial ends where none of them goes on; `why` as of `Ledger.end_paused`."""
        found = {}
        for trial in self._study.get_trials(deepcopy=False, states=(OptunaState.RUNNING,)):
            stored = stored_json(trial, PAUSED)
            if stored is not None:
                outcome = TrialOutcome.model_validate_json(stored)
                then = f"the search ended: {why}" if why else "others were better"
                reason = f"paused after epoch {outcome.epochs}, and {then}"
                found[trial.number] = outcome.model_copy(update={"state": TrialState.PRUNED, "reason": reason})
        return found


def _epochs(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values, default=0)
