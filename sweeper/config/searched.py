"""What a search space leaves open: every parameter that a sampler draws, and the values that one field may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, prod
from typing import Any

from pydantic import BaseModel

from sweeper.config.option_labels import inside_option, option_labels
from sweeper.config.space import Choice, FloatRange, IntRange

LONGEST_CHOICE = 60  # characters

Drawn = FloatRange | IntRange | tuple[Any, ...]
"""What a parameter is drawn from: a range, or the labels of a choice."""


def searched(space: Any) -> Iterator[tuple[str, str]]:
    """Yield the name of each parameter that is searched, and what it is drawn from, in words."""
    return ((name, _in_words(drawn)) for name, drawn in parameters(space))


def _in_words(drawn: Drawn) -> str:
    if isinstance(drawn, tuple):
        text = " | ".join(map(str, drawn))
        return text if len(text) <= LONGEST_CHOICE else f"{len(drawn)} options"
    low, high = drawn.ends
    steps = f" in steps of {drawn.step:g}" if drawn.stepped else ""
    beyond = f", which do not lead to {drawn.bounds[1]:g}" if high < drawn.bounds[1] else ""
    return f"{low:g} to {high:g}{', log' if drawn.log else ''}{steps}{beyond}"


def parameters(node: Any, name: str = "", *, of_all: bool = False) -> Iterator[tuple[str, Drawn]]:
    """Yield the name of each parameter that is searched, and what it is drawn from; `of_all`: that every trial has."""
    match node:
        case FloatRange(bounds=(low, high)) | IntRange(bounds=(low, high)):
            if low < high:
                yield name, node
        case Choice():
            yield from _of_choice(node, name, of_all=of_all)
        case BaseModel():
            for field, inner in node:
                yield from parameters(inner, f"{name}.{field}" if name else field, of_all=of_all)
        case tuple():
            for index, inner in enumerate(node):
                yield from parameters(inner, f"{name}[{index}]", of_all=of_all)


def configurations(node: Any) -> float:
    """Return how many configurations a search space holds at most; infinity where a range has no steps."""
    match node:
        case FloatRange(ends=(low, high)) | IntRange(ends=(low, high)):
            step = node.step or (1 if isinstance(node, IntRange) else 0)
            return 1 if low == high else round((high - low) / step) + 1 if step else inf
        case Choice():
            return sum(map(configurations, node.choice))
        case BaseModel():
            return prod(configurations(inner) for _, inner in node)
        case tuple():
            return prod(map(configurations, node))
        case _:
            return 1


def _of_choice(node: Choice[Any], name: str, *, of_all: bool) -> Iterator[tuple[str, Drawn]]:
    labels = option_labels(node.choice)
    if len(labels) > 1:
        yield name, tuple(labels)
        if of_all:
            return
    for index, option in enumerate(node.choice):
        inside = inside_option(option, labels[index], index, name) if len(labels) > 1 else name
        yield from parameters(option, inside, of_all=of_all)


def varied_fields(space: BaseModel) -> dict[str, bool]:
    """Return the fields in which trials of a search space may differ, by their dotted names in a configuration.

    With each stands whether every trial has it: a momentum is one of some optimizers only.
    """
    return dict(_varied(space, ""))


def _varied(node: Any, name: str, *, always: bool = True) -> Iterator[tuple[str, bool]]:
    match node:
        case FloatRange(bounds=(low, high)) | IntRange(bounds=(low, high)):
            if low < high:
                yield name, always
        case Choice() if len(node.choice) == 1:
            yield from _varied(node.choice[0], name, always=always)
        case Choice():
            models = [option for option in node.choice if isinstance(option, BaseModel)]
            if len(models) < len(node.choice):
                yield name, always
            else:
                yield from _between(models, name, always=always)
        case BaseModel():
            for field, inner in node:
                yield from _varied(inner, f"{name}.{field}" if name else field, always=always)
        case tuple():
            if any(True for _ in parameters(node)):
                yield name, always


def _between(models: Sequence[BaseModel], name: str, *, always: bool) -> Iterator[tuple[str, bool]]:
    """Yield the fields in which the options of a choice differ, and those that differ within one of them."""
    fields = [dict(model) for model in models]
    for field in dict.fromkeys(field for known in fields for field in known):
        values = [known[field] for known in fields if field in known]
        inside, everywhere = f"{name}.{field}", always and len(values) == len(models)
        found = {inner: kept and everywhere for value in values for inner, kept in _varied(value, inside)}
        if not found and any(value != values[0] for value in values):
            found = {inside: everywhere}
        yield from found.items()


def options(value: Any) -> tuple[Any, ...]:
    """Return what a field may be: the options of a choice, or the one value or range it has."""
    return value.choice if isinstance(value, Choice) else (value,)


def lowest(value: Any) -> float:
    """Return the lowest number that a field may be."""
    return min(_ends(option)[0] for option in options(value))


def highest(value: Any) -> float:
    """Return the highest number that a field may be."""
    return max(_ends(option)[1] for option in options(value))


def _ends(option: Any) -> tuple[float, float]:
    return option.ends if isinstance(option, FloatRange | IntRange) else (option, option)


def smallest(value: Any) -> int:
    """Return the smallest whole number that a field may be."""
    return int(lowest(value))


def largest(value: Any) -> int:
    """Return the largest whole number that a field may be."""
    return int(highest(value))
