"""Whether given hyperparameters lie in a search space, and which parameters of a trial they are.

The way back from a configuration to what a sampler would have had to suggest. What is not given stays open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import BaseModel

from sweeper.config.document import Key
from sweeper.config.names_to_check import dotted
from sweeper.config.nearest_name import unknown_key
from sweeper.config.option_labels import inside_option, option_labels
from sweeper.config.space import Choice, FloatRange, IntRange

Node = FloatRange | IntRange | tuple[Any, ...]
"""What a parameter is drawn from: a range, or the labels of a choice."""


@dataclass(frozen=True)
class Misfit:
    """A given value that the search space does not hold: it lies outside, or has no place there at all."""

    key: Key
    why: str
    outside: bool = True

    def __str__(self) -> str:
        return f"{dotted(self.key)}: {self.why}"


@dataclass
class Fit:
    """The parameters of a trial that has the given values, by the sampler's names, and what each is drawn from."""

    params: dict[str, Any] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)

    def take_in(self, other: Fit) -> Self:
        self.params |= other.params
        self.nodes |= other.nodes
        self.misfits += other.misfits
        return self


def fit(space: BaseModel, given: Mapping[str, Any]) -> Fit:
    """Return how values fit into a search space; `given` is nested like it, and may leave out any of it."""
    return _fit(space, "", given, ())


def _fit(node: Any, name: str, given: Any, key: Key) -> Fit:
    match node:
        case FloatRange() | IntRange():
            return _fit_range(node, name, given, key)
        case Choice():
            return _fit_choice(node.choice, name, given, key)
        case BaseModel():
            return _fit_model(node, name, given, key)
        case tuple():
            return _fit_items(node, name, given, key)
        case _:
            same = given == node and isinstance(given, bool) == isinstance(node, bool)
            return Fit() if same else _misfit(key, f"{given!r} is not {node!r}, which the search space has fixed")


def _misfit(key: Key, why: str) -> Fit:
    return Fit(misfits=[Misfit(key, why)])


def _fit_range(node: FloatRange | IntRange, name: str, given: Any, key: Key) -> Fit:
    low, high = node.bounds
    whole = isinstance(node, IntRange)
    if whole and isinstance(given, float) and given.is_integer():  # of a key whose values are real numbers
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int if whole else int | float):
        return _misfit(key, f"{given!r} is not a {'whole ' if whole else ''}number")
    steps = 0.0 if node.step is None else (given - low) / node.step
    off = abs(steps - round(steps)) > 1e-8
    if not low <= given <= high or off:
        by = f" in steps of {node.step:g}" if node.stepped else ""
        where = "between two values of" if off and low <= given <= high else "outside"
        return _misfit(key, f"{given:g} is {where} the search space, [{low:g}, {high:g}]{by}")
    return Fit({name: given if whole else float(given)}, {name: node})


def _fit_choice(options: Sequence[Any], name: str, given: Any, key: Key) -> Fit:
    """Take the option that fits, or of named ones that do not fit the one of the same name."""
    if len(options) == 1:
        return _fit(options[0], name, given, key)
    labels = option_labels(options)
    tried = [
        _fit(option, inside_option(option, label, index, name), given, key)
        for index, (option, label) in enumerate(zip(options, labels, strict=True))
    ]
    fitting = [str(label) for label, found in zip(labels, tried, strict=True) if not found.misfits]
    unsaid = isinstance(given, Mapping) and _does_not_say_which(options, given)
    if unsaid and not given:
        return Fit()
    if unsaid and len(fitting) > 1:
        which = dotted((*key, "name")) if all(map(_is_named, options)) else "a key in which they differ"
        return _misfit(key, f"{', '.join(map(str, given))} fits {' and '.join(fitting)}; say which one, by {which}")
    best = min(
        range(len(options)), key=lambda index: (not _named_like(options[index], given), len(tried[index].misfits))
    )
    if tried[best].misfits and not _named_like(options[best], given):
        shown = given.get("name", given) if isinstance(given, Mapping) else given
        return _misfit(key, f"{shown!r} is not among the options {', '.join(map(str, labels))}")
    return Fit({name: labels[best]}, {name: tuple(labels)}).take_in(tried[best])


def _does_not_say_which(options: Sequence[Any], given: Mapping[str, Any]) -> bool:
    """Return whether keys and values are not those of a whole option: without a name, or where none has one, a part."""
    if not all(isinstance(option, BaseModel) for option in options):
        return False
    if all(map(_is_named, options)):
        return "name" not in given
    return any(given.keys() < type(option).model_fields.keys() for option in options)


def _is_named(option: Any) -> bool:
    return isinstance(option, BaseModel) and hasattr(option, "name")


def _named_like(option: Any, given: Any) -> bool:
    name = getattr(option, "name", None) if isinstance(option, BaseModel) else None
    return name is not None and name == (given.get("name") if isinstance(given, Mapping) else given)


def _fit_model(node: BaseModel, name: str, given: Any, key: Key) -> Fit:
    values = {"name": given} if isinstance(given, str) else given
    if not isinstance(values, Mapping):
        return _misfit(key, f"should be keys and values, got {given!r}")
    found, fields = Fit(), dict(node)
    for part, value in values.items():
        inside = f"{name}.{part}" if name else str(part)
        if part in fields:
            found.take_in(_fit(fields[part], inside, value, (*key, part)))
        else:
            found.take_in(Fit(misfits=[Misfit((*key, part), unknown_key(str(part), fields), outside=False)]))
    return found


def _fit_items(node: tuple[Any, ...], name: str, given: Any, key: Key) -> Fit:
    if not isinstance(given, list | tuple) or len(given) != len(node):
        return _misfit(key, f"{given!r} has not the {len(node)} items of the search space")
    found = Fit()
    for index, (inner, value) in enumerate(zip(node, given, strict=True)):
        found.take_in(_fit(inner, f"{name}[{index}]", value, (*key, index)))
    return found
