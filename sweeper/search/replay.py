"""What lets a step of Optuna that a crash cut short be taken again with the same result.

All use parts of Optuna that it does not document; tests/search/test_replay.py holds them
to what they are used for.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

FIXED_PARAMS = "fixed_params"
"""Optuna's system attribute of an enqueued trial: what is given and not drawn."""


class WithheldWrites:
    """A storage that keeps the trial attributes a pruner writes to itself.

    Successive halving and Hyperband note the rungs a trial has completed while they decide, and
    never give the same answer again after that.
    """

    def __init__(self, storage: Any):
        self._storage = storage
        self.attributes: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, _trial_id: int, key: str, value: Any) -> None:
        self.attributes[key] = value


def decide(study: optuna.Study, known: FrozenTrial, epoch: int, value: float) -> dict[str, Any]:
    """Ask the study's pruner about a trial as it will be after this epoch, without changing anything stored.

    The answer holds the `epoch`, whether to `prune`, and the attributes of the `rungs` that are thereby completed.
    """
    after = copy.copy(known)
    after.intermediate_values = {**known.intermediate_values, epoch: value}
    withheld = WithheldWrites(study._storage)
    prune = bool(study.pruner.prune(with_storage(study, withheld), after))
    return {"epoch": epoch, "prune": prune, "rungs": withheld.attributes}


def with_storage(study: optuna.Study, storage: Any) -> optuna.Study:
    """Return the same study over another storage."""
    other = copy.copy(study)
    other._storage = storage
    return other


class Redrawing:
    """A trial that draws the parameters it already has once more before it gives them.

    Parameters are drawn one after another from one random stream. A trial that was killed between
    two of them must not give the third the number that was the first one's.
    """

    def __init__(self, trial: optuna.Trial):
        self._trial = trial

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self._draw_again(name)
        return self._trial.suggest_float(name, low, high, step=step, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self._draw_again(name)
        return self._trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self._draw_again(name)
        return self._trial.suggest_categorical(name, choices)

    def _draw_again(self, name: str) -> None:
        trial = self._trial
        distribution = trial.distributions.get(name)
        given = trial._fixed_params
        if distribution is None or distribution.single() or name in trial.relative_params or name in given:
            return
        frozen = trial._get_latest_trial()
        study = optuna.pruners._filter_study(trial.study, frozen)
        trial.study.sampler.sample_independent(study, frozen, name, distribution)
