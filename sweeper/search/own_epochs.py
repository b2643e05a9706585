"""A pruner of trials that go on from another one: it counts their own epochs, from 1."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from sweeper.search.plateau import LEARNING_RATES
from sweeper.search.replay import with_storage


class OwnEpochsPruner(optuna.pruners.BasePruner):
    """Asks another pruner about trials whose epochs are numbered on from the last one of their source."""

    def __init__(self, wrapped: optuna.pruners.BasePruner, before: int):
        self._wrapped = wrapped
        self._before = before

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        view = OwnEpochsView(study._storage, self._before)
        return bool(self._wrapped.prune(with_storage(study, view), view.in_own_epochs(trial)))


class OwnEpochsView:
    """A storage whose trials count their own epochs."""

    def __init__(self, storage: Any, before: int):
        self._storage = storage
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Collection[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        return [self.in_own_epochs(trial) for trial in self._storage.get_all_trials(study_id, deepcopy, states)]

    def in_own_epochs(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a shallow copy of a trial that counts its own epochs."""
        shown = copy.copy(trial)
        shown.intermediate_values = {epoch - self._before: value for epoch, value in trial.intermediate_values.items()}
        if rates := trial.user_attrs.get(LEARNING_RATES):
            own = {str(int(epoch) - self._before): rate for epoch, rate in rates.items()}
            shown.user_attrs = {**trial.user_attrs, LEARNING_RATES: own}
        return shown
