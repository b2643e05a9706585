"""From a search space to a trial's configuration, by asking for a value of each distribution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def keys_of(space: BaseModel, params: Mapping[str, Any]) -> dict[str, str]:
    """Return where the values of a trial's parameters stand in its configuration: `optimizer.lr`, for one above.

    Left out are choices of objects and of lists, and what is searched inside a list, which is one value there.
    """
    return dict(_keys(space, "", "", params))


def _keys(value: Any, name: str, key: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    match value:
        case FloatRange() | IntRange():
            yield name, key
        case Choice():
            option, inside = _choose(value.choice, name, Known(params))
            if len(value.choice) > 1 and not isinstance(option, BaseModel | tuple):
                yield name, key
            yield from _keys(option, inside, key, params)
        case BaseModel():
            for field, inner in value:
                yield from _keys(inner, _within(name, field), _within(key, field), params)


def _resolve(value: Any, name: str, trial: Suggester) -> Any:
    match value:
        case FloatRange(ends=(low, high)):
            return trial.suggest_float(name, low, high, step=value.step, log=value.log)
        case IntRange(ends=(low, high)):
            return trial.suggest_int(name, low, high, step=value.step, log=value.log)
        case Choice():
            return _resolve(*_choose(value.choice, name, trial), trial)
        case BaseModel():
            return {field: _resolve(inner, _within(name, field), trial) for field, inner in value}
        case tuple():
            return tuple(_resolve(item, f"{name}[{index}]", trial) for index, item in enumerate(value))
        case _:
            return value


def _within(name: str, field: str) -> str:
    return f"{name}.{field}" if name else field


def _choose(options: Sequence[Any], name: str, trial: Suggester) -> tuple[Any, str]:
    """Return the option that a trial takes, and how the names of parameters inside it begin."""
    if len(options) == 1:
        return options[0], name
    labels = option_labels(options)
    index = labels.index(trial.suggest_categorical(name, labels))
    option = options[index]
    return option, inside_option(option, labels[index], index, name)
