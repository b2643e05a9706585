"""What the options of a choice are called, and what the parameters inside each are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from sweeper.config.space import Choice


def option_labels(options: Sequence[Any]) -> list[Any]:
    """Return a distinct category for every option: scalars as they are, objects by name, or names, or content."""
    labels: list[Any] = []
    for option in options:
        label = _label(option)
        repeats = sum(1 for other in labels if str(other).split("#")[0] == str(label))
        labels.append(f"{label}#{repeats + 1}" if repeats else label)
    return labels


def inside_option(option: Any, label: Any, index: int, name: str) -> str:
    """Return the name of a choice's option, with which the names of the parameters inside begin.

    Each branch has parameters of its own: `optimizer.adam.lr`; where its name is searched too, `optimizer.1.lr`.
    """
    if isinstance(option, BaseModel):
        named = isinstance(getattr(option, "name", None), str)
        return f"{name}.{label if named else index}"
    return f"{name}[{index}]" if isinstance(option, tuple) else name


def _label(option: Any) -> Any:
    if isinstance(option, BaseModel):
        named = getattr(option, "name", None)
        if isinstance(named, Choice):
            return " or ".join(named.choice)
        return named or _fixed_part(option)
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
