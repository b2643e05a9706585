"""Configurations that are queued by name: those of the user, and of trials that failed or were cut short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState

from sweeper.config.space_membership import fit
from sweeper.config.sweep import SweepConfig
from sweeper.search.mirror import Mirror
from sweeper.search.stored_trial import CONFIG, ENQUEUED, GIVEN, OUTSIDE, RETRY_OF, stored_configuration


class Queue:
    """What is queued by name in one study."""

    def __init__(self, study: optuna.Study, sweep: SweepConfig):
        self._study = study
        self._sweep = sweep
        self._retries: int | None = None

    def put(self, configurations: Mapping[str, Mapping[str, Any]], budget: int) -> list[str]:
        """Queue named configurations and return the names of the new ones.

        Each is put there once, over any restarts, and none beyond the budget. What one does not name, or names outside
        the search space, is left to the sampler.
        """
        trials = self._study.get_trials(deepcopy=False)
        known = {trial.user_attrs.get(ENQUEUED) for trial in trials}
        new = [name for name in configurations if name not in known][: max(0, budget - len(trials))]
        for name in new:
            self._put(name, configurations[name])
        return new

    def holds(self, name: str, given: Mapping[str, Any]) -> bool:
        """Return whether a configuration is queued under a name, and its trial has not begun."""
        waiting = self._study.get_trials(deepcopy=False, states=(OptunaState.WAITING,))
        mine = [trial.user_attrs for trial in waiting if trial.user_attrs.get(ENQUEUED) == name]
        return any(known.get(GIVEN) == given and CONFIG not in known for known in mine)

    def _put(self, name: str, given: Mapping[str, Any], **attributes: Any) -> None:
        params = fit(self._sweep.search, given).params
        self._study.enqueue_trial(params, user_attrs={ENQUEUED: name, GIVEN: dict(given), **attributes})

    @property
    def begun(self) -> bool:
        """Whether there are trials that were not queued by name."""
        return any(ENQUEUED not in trial.user_attrs for trial in self._study.get_trials(deepcopy=False))

    def retry_failed(self) -> list[int]:
        """Queue the configuration of each failed trial once more, under a new number; return whose.

        The budget counts them as one trial. A failed trial is retried once; if the retry fails, the retry can be
        retried.
        """
        trials = self._study.get_trials(deepcopy=False)
        retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
        found = []
        for trial in trials:
            given = stored_configuration(trial)
            failed = trial.state == OptunaState.FAIL and OUTSIDE not in trial.user_attrs
            if failed and given is not None and trial.number not in retried:
                self._put(f"trial {trial.number} again", given, **{RETRY_OF: trial.number})
                found.append(trial.number)
        self._retries = None
        return found

    def again(self, number: int) -> None:
        """Queue the configuration of one trial once more, beyond the budget, if it is not there yet."""
        trials = self._study.get_trials(deepcopy=False)
        if any(trial.user_attrs.get(RETRY_OF) == number for trial in trials):
            return
        for trial in trials:
            given = stored_configuration(trial) if trial.number == number else None
            if given is not None:
                self._put(f"trial {number} again", given, **{RETRY_OF: number})
        self._retries = None

    def retries(self) -> int:
        """Return how many trials stand for others that failed or were cut short."""
        storage: Any = self._study._storage
        if not isinstance(storage, Mirror):  # which has read all trials
            return int(storage._backend.count_with(self._study._study_id, RETRY_OF))
        if self._retries is None:
            trials = self._study.get_trials(deepcopy=False)
            self._retries = sum(RETRY_OF in trial.user_attrs for trial in trials)
        return self._retries
