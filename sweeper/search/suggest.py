"""From a search space to a trial's configuration, by asking for a value of each distribution."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from pydantic import BaseModel

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.space import Choice, FloatRange, IntRange


class Suggester(Protocol):
    """The part of `optuna.Trial` that is used here."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...


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
    if isinstance(option, BaseModel):
        named = getattr(option, "name", None)
        return _resolve(option, f"{name}.{labels[index] if named else index}", trial)
    return _resolve(option, f"{name}[{index}]" if isinstance(option, tuple) else name, trial)


def option_labels(options: Sequence[Any]) -> list[Any]:
    """Return a distinct category for every option: scalars as they are, objects by name or content."""
    labels: list[Any] = []
    for option in options:
        label = _label(option)
        repeats = sum(1 for other in labels if str(other).split("#")[0] == str(label))
        labels.append(f"{label}#{repeats + 1}" if repeats else label)
    return labels


def _label(option: Any) -> Any:
    if isinstance(option, BaseModel):
        return getattr(option, "name", None) or _fixed_part(option)
    return (
        json.dumps(option, default=lambda inner: inner.model_dump(by_alias=True))
        if isinstance(option, tuple)
        else option
    )


def _fixed_part(option: BaseModel) -> str:
    """Name an object by what is fixed in it and not the default: `hidden=[64], norm=batch`."""
    given = option.model_dump(exclude_defaults=True)
    fixed = {name: value for name, value in given.items() if not isinstance(value, dict)}
    return (
        ", ".join(f"{name}={list(value) if isinstance(value, tuple) else value}" for name, value in fixed.items())
        or "default"
    )
