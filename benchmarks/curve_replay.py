"""Recorded learning curves, run once more through the pruners as a study would run them.

The pruners are the product's own, on a study in Optuna's memory storage; only training is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import TrialState as OptunaState
from pydantic import TypeAdapter

from sweeper.config.pruner import PromoteConfig, PrunerConfig
from sweeper.search.plateau import LEARNING_RATES, with_rate
from sweeper.search.promotion import Promotion, Standing
from sweeper.search.pruners import build_pruner

PRUNERS: TypeAdapter[PrunerConfig] = TypeAdapter(PrunerConfig)


@dataclass(frozen=True)
class Curve:
    """The objective and the learning rate after each epoch of one trial, and the rate's changes."""

    values: tuple[float, ...]
    rates: tuple[float, ...]

    @property
    def final(self) -> float:
        """The trial's score: that of its best epoch."""
        return max(self.values)


@dataclass(frozen=True)
class Setting:
    """A pruner as a search space names it; `sees_rates` is false to show what the learning rates are worth."""

    family: str
    pruner: str  # JSON
    sees_rates: bool = True


def load_curves(path: Path) -> list[Curve]:
    """Return the curves of a file that benchmarks.record_curves wrote; all of one length, to be maximized."""
    content = json.loads(path.read_text())
    if content["direction"] != "maximize":
        raise SystemExit(f"{path}: the objective is to be maximized here, it is {content['direction']}d there")
    curves = [Curve(tuple(trial["values"]), tuple(trial["rates"])) for trial in content["trials"]]
    return [curve for curve in curves if len(curve.values) == content["epochs"]]


def replay(curves: Sequence[Curve], setting: Setting, name: str, workers: int = 1) -> list[int | None]:
    """Return after how many epochs each trial is pruned, or None for one that comes to its end.

    `workers` trials run at a time, an epoch of each in turn. `name` is the study's, from which Hyperband
    draws its brackets.
    """
    config = PRUNERS.validate_json(setting.pruner)
    if isinstance(config, PromoteConfig):
        return promoted(curves, Promotion(config, len(curves[0].values)), workers)
    pruner = build_pruner(config, len(curves[0].values))
    study = optuna.create_study(study_name=name, direction="maximize", pruner=pruner)
    pruned: list[int | None] = [None] * len(curves)
    waiting = iter(range(len(curves)))
    slots = [run(study, curves, waiting, pruned, sees_rates=setting.sees_rates) for _ in range(workers)]
    while slots:
        slots = [slot for slot in slots if next(slot, False)]
    return pruned


def promoted(curves: Sequence[Curve], promotion: Promotion, workers: int) -> list[int | None]:
    """Return after how many epochs each trial pauses for good, or None for one that comes to its end.

    All that run go on by a rung together, as workers of one speed nearly do.
    """
    epochs, trials = len(curves[0].values), list[Standing]()
    while True:
        running: list[int] = []
        while len(running) < workers:
            known = [replace(trial, paused=None) if trial.number in running else trial for trial in trials]
            number = promotion.next(known, last=len(trials) == len(curves) and not running)
            if number is None and len(trials) == len(curves):
                break
            if number is None:
                trials.append(Standing(number := len(trials), {}))
            running.append(number)
        if not running:
            return [None if trial.ended else trial.epochs for trial in trials]
        for number in running:
            until = promotion.after(trials[number].epochs)
            values = dict(enumerate(curves[number].values[:until], 1))
            ended = until == epochs
            trials[number] = Standing(number, values, paused=None if ended else until, ended=ended)


def run(
    study: optuna.Study, curves: Sequence[Curve], waiting: Iterator[int], pruned: list[int | None], *, sees_rates: bool
) -> Iterator[bool]:
    """Train one trial after another, as a worker does; yields after every epoch."""
    for index in waiting:
        trial_id = study._storage.create_new_trial(study._study_id)
        for epoch in range(1, len(curves[index].values) + 1):
            if step(study, trial_id, curves[index], epoch, sees_rates=sees_rates):
                pruned[index] = epoch
                break
            yield True
        state = OptunaState.COMPLETE if pruned[index] is None else OptunaState.PRUNED
        study._storage.set_trial_state_values(trial_id, state, [curves[index].final])


def step(study: optuna.Study, trial_id: int, curve: Curve, epoch: int, *, sees_rates: bool) -> bool:
    """Report an epoch as StudyStore does, without its care for a driver that dies, and return whether to prune."""
    storage, rate = study._storage, curve.rates[epoch - 1]
    if sees_rates and (epoch == 1 or rate != curve.rates[epoch - 2]):
        rates = with_rate(storage.get_trial(trial_id).user_attrs.get(LEARNING_RATES, {}), epoch, rate)
        storage.set_trial_user_attr(trial_id, LEARNING_RATES, rates)
    storage.set_trial_intermediate_value(trial_id, epoch, curve.values[epoch - 1])
    return bool(study.pruner.prune(study, storage.get_trial(trial_id))) and epoch < len(curve.values)
