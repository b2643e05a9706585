"""What a search space leaves open: every parameter that a sampler draws, and the values that one field may take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from sweeper.config.option_labels import inside_option, option_labels
from sweeper.config.space import Choice, FloatRange, IntRange

LONGEST_CHOICE = 60  # characters


def searched(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name of each parameter that is searched, and what it is drawn from, in words."""
    match node:
        case FloatRange(bounds=(low, high)) | IntRange(bounds=(low, high)):
            if low < high:
                yield name, f"{low:g} to {high:g}{', log' if node.log else ''}"
        case Choice():
            yield from _of_choice(node, name)
        case BaseModel():
            for field, inner in node:
                yield from searched(inner, f"{name}.{field}" if name else field)
        case tuple():
            for index, inner in enumerate(node):
                yield from searched(inner, f"{name}[{index}]")


def _of_choice(node: Choice[Any], name: str) -> Iterator[tuple[str, str]]:
    labels = option_labels(node.choice)
    if len(labels) > 1:
        text = " | ".join(map(str, labels))
        yield name, text if len(text) <= LONGEST_CHOICE else f"{len(labels)} options"
    for index, option in enumerate(node.choice):
        inside = inside_option(option, labels[index], index, name) if len(labels) > 1 else name
        yield from searched(option, inside)


def options(value: Any) -> tuple[Any, ...]:
    """Return what a field may be: the options of a choice, or the one value or range it has."""
    return value.choice if isinstance(value, Choice) else (value,)


def lowest(value: Any) -> float:
    """Return the lowest number that a field may be."""
    ranges = FloatRange | IntRange
    return min(option.bounds[0] if isinstance(option, ranges) else option for option in options(value))


def smallest(value: Any) -> int:
    """Return the smallest whole number that a field may be."""
    return int(lowest(value))


def largest(value: Any) -> int:
    """Return the largest whole number that a field may be."""
    return max(option.bounds[1] if isinstance(option, IntRange) else int(option) for option in options(value))
