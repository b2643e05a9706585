"""The study of a driver in memory: what it has written it need not read again.

Optuna's cache reads every unfinished trial from the database whenever a trial is asked for or judged: with a thousand
workers that is a thousand trials for each report. While a driver holds the study's lease nobody else writes, so that
trials are read once and then follow what this process writes. What a suggestion draws is written at once, in place of
one transaction a parameter: a driver that dies before that draws the same again.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial, TrialState

from sweeper.search.bulk_storage import BulkStorage, Drawn, Reported

ENDED = tuple(state for state in TrialState if state.is_finished())
OPEN = tuple(state for state in TrialState if not state.is_finished())


class Mirror(_CachedStorage):
    """Optuna's cache of a database that only this process writes to."""

    _backend: BulkStorage

    def __init__(self, backend: BulkStorage):
        super().__init__(backend)
        self._drawn: dict[int, list[Drawn]] = {}
        self._reported: list[Reported] = []
        self._together = False
        self.forget()

    def forget(self) -> None:
        """Read everything anew when it is next asked for: somebody else may have written."""
        self._studies.clear()
        self._whole: set[int] = set()
        self._open: dict[int, set[int]] = {}
        self._ended: dict[tuple[int, tuple[TrialState, ...]], list[FrozenTrial]] = {}

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        if study_id in self._whole:
            return
        super()._read_trials_from_remote_storage(study_id)
        trials = self._studies[study_id].trials
        self._studies[study_id].trials = {number: trials[number] for number in sorted(trials)}
        self._open[study_id] = {number for number, trial in trials.items() if not trial.state.is_finished()}
        self._whole.add(study_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        self._read_trials_from_remote_storage(study_id)
        trials = self._studies[study_id].trials
        if states is None:
            found = list(trials.values())
        elif not any(state in states for state in ENDED):
            found = [trials[number] for number in sorted(self._open[study_id]) if trials[number].state in states]
        elif any(state in states for state in OPEN):
            found = [trial for trial in trials.values() if trial.state in states]
        else:
            found = list(self._ended_in(study_id, states))
        return copy.deepcopy(found) if deepcopy else found

    def get_n_trials(self, study_id: int, state: Container[TrialState] | TrialState | None = None) -> int:
        self._read_trials_from_remote_storage(study_id)
        if state is None:
            return len(self._studies[study_id].trials)
        states = (state,) if isinstance(state, TrialState) else state
        trials, still = self._studies[study_id].trials, self._open[study_id]
        return len(self._ended_in(study_id, states)) + sum(trials[number].state in states for number in still)

    def _ended_in(self, study_id: int, states: Container[TrialState]) -> list[FrozenTrial]:
        """Return the trials that have ended in one of these states, by number; to be read only."""
        key = (study_id, tuple(state for state in ENDED if state in states))
        if key not in self._ended:
            trials = self._studies[study_id].trials.values() if key[1] else ()
            self._ended[key] = [trial for trial in trials if trial.state in key[1]]
        return self._ended[key]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        known = self._known(trial_id)
        return self._backend.get_trial(trial_id) if known is None else known

    def _known(self, trial_id: int) -> FrozenTrial | None:
        study_id, number = self._trial_id_to_study_id_and_number.get(trial_id, (-1, -1))
        return self._studies[study_id].trials[number] if study_id in self._whole else None

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._read_trials_from_remote_storage(study_id)
        trial_id = super().create_new_trial(study_id, template_trial)
        self._open[study_id].add(self._trial_id_to_study_id_and_number[trial_id][1])
        return trial_id

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        known = self._known(trial_id)
        if known is None:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        self.check_trial_is_updatable(trial_id, known.state)
        self._require_compatible(trial_id, param_name, distribution)
        self._drawn.setdefault(trial_id, []).append(Drawn(param_name, param_value_internal, distribution))
        value = distribution.to_external_repr(param_value_internal)
        params, distributions = {**known.params, param_name: value}, {**known.distributions, param_name: distribution}
        self._change(trial_id, params=params, distributions=distributions)

    def _require_compatible(self, trial_id: int, name: str, distribution: BaseDistribution) -> None:
        """Raise ValueError where the parameter has another distribution in earlier trials."""
        study = self._studies[self._trial_id_to_study_id_and_number[trial_id][0]]
        if name not in study.param_distribution:
            drawn = (trial.distributions[name] for trial in study.trials.values() if name in trial.distributions)
            study.param_distribution[name] = next(drawn, distribution)
        check_distribution_compatibility(study.param_distribution[name], distribution)

    def forget_drawn(self, trial_id: int) -> None:
        """Forget what was drawn for a trial and is not written yet."""
        if self._drawn.pop(trial_id, None):
            self._change(trial_id, params={}, distributions={})

    def _write_drawn(self, trial_id: int) -> None:
        if trial_id in self._drawn:
            self._backend.add_params(trial_id, self._drawn[trial_id])
            del self._drawn[trial_id]

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._write_drawn(trial_id)
        done = super().set_trial_state_values(trial_id, state, values)
        if done and self._known(trial_id) is not None:
            stored = self._backend.get_trial(trial_id)  # with the times that the database holds
            self._take(stored)
        return done

    def _take(self, trial: FrozenTrial) -> None:
        study_id, number = self._trial_id_to_study_id_and_number[trial._trial_id]
        self._studies[study_id].trials[number] = trial
        if trial.state.is_finished():
            self._open[study_id].discard(number)
            self._ended = {key: found for key, found in self._ended.items() if key[0] != study_id or not key[1]}

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        known = self._known(trial_id)
        if known is None:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        self.check_trial_is_updatable(trial_id, known.state)
        self._write_drawn(trial_id)
        self._reported.append(Reported(trial_id, step, intermediate_value))
        if not self._together:
            self._write_reported()
        self._change(trial_id, intermediate_values={**known.intermediate_values, step: intermediate_value})

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write the values that are reported in the block at its end, in one transaction."""
        self._together = True
        try:
            yield
            self._write_reported()
        finally:
            self._together = False
            self._reported.clear()

    def _write_reported(self) -> None:
        if self._reported:
            self._backend.put_intermediate_values(self._reported)
            self._reported.clear()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write_drawn(trial_id)
        super().set_trial_user_attr(trial_id, key, value)
        if (known := self._known(trial_id)) is not None:
            self._change(trial_id, user_attrs={**known.user_attrs, key: value})

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)
        if (known := self._known(trial_id)) is not None:
            self._change(trial_id, system_attrs={**known.system_attrs, key: value})

    def _change(self, trial_id: int, **changes: Any) -> None:
        """Put a changed trial in place of one that others may still hold."""
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        trial = copy.copy(self._studies[study_id].trials[number])
        for name, value in changes.items():
            setattr(trial, name, value)
        self._studies[study_id].trials[number] = trial
