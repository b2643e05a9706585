"""From a search space to a trial's configuration, by asking for a value of each distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.option_labels import inside_option, option_labels
from sweeper.config.space import Choice, FloatRange, IntRange


class Suggester(Protocol):
    """The part of `optuna.Trial` that is used here."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


@dataclass(frozen=True)
class Known:
    """Suggests what a trial was given before."""

    params: Mapping[str, Any]

    def suggest_float(self, name: str, *_: Any, **__: Any) -> float:
        return float(self.params[name])

    def suggest_int(self, name: str, *_: Any, **__: Any) -> int:
        return int(self.params[name])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[choices.index(self.params[name])]


def suggest(space: BaseModel, trial: Suggester) -> TrialConfig:
    """Return the same shape as `space` with a plain value in place of every distribution.

    A parameter is named by its place, `optimizer.lr`; inside a choice of objects the chosen option
    is part of the name, `optimizer.adam.lr`, so that each branch has parameters of its own.
    """
    return TrialConfig.model_validate(_resolve(space, "", trial))


def _resolve(value: Any, name: str, trial: Suggester) -> Any:
    match value:
        case FloatRange(bounds=(low, high)):
            return trial.suggest_float(name, low, high, step=value.step, log=value.log)
        case IntRange(bounds=(low, high)):
            return trial.suggest_int(name, low, high, step=value.step, log=value.log)
        case Choice():
            return _choose(value.choice, name, trial)
        case BaseModel():
            prefix = f"{name}." if name else ""
            return {field: _resolve(inner, prefix + field, trial) for field, inner in value}
        case tuple():
            return tuple(_resolve(item, f"{name}[{index}]", trial) for index, item in enumerate(value))
        case _:
            return value


def _choose(options: Sequence[Any], name: str, trial: Suggester) -> Any:
    if len(options) == 1:
        return _resolve(options[0], name, trial)
    labels = option_labels(options)
    index = labels.index(trial.suggest_categorical(name, labels))
    option = options[index]
    return _resolve(option, inside_option(option, labels[index], index, name), trial)
