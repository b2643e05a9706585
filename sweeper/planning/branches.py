"""Ways through a search space that together take every option of every choice at least once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sweeper.config.hyperparameters import TrialConfig
from sweeper.search.suggest import suggest

MOST = 300
"""Branches that are tried; more options than that nobody writes by hand."""

Taken = dict[str, Any]
"""The option taken of each choice on the way, by the name of its parameter."""


class _Picks:
    """Suggests the wanted option of a choice, else the first, and the lowest number of a range."""

    def __init__(self, wanted: Mapping[str, Any]):
        self._wanted = wanted
        self.taken: Taken = {}
        self.offered: dict[str, Sequence[Any]] = {}

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:  # noqa: ARG002
        return low

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:  # noqa: ARG002
        return low

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        wanted = self._wanted.get(name)
        self.offered[name] = choices
        self.taken[name] = choices[choices.index(wanted)] if wanted in choices else choices[0]
        return self.taken[name]


def branches(space: BaseModel) -> list[tuple[Taken, TrialConfig]]:
    """Return configurations that take every option once or more, each with the options that it takes."""
    found: list[tuple[Taken, TrialConfig]] = []
    asked: set[tuple[str, str]] = set()
    waiting: list[Taken] = [{}]
    while waiting and len(found) < MOST:
        picks = _Picks(waiting.pop(0))
        found.append((picks.taken, suggest(space, picks)))
        asked |= {(name, repr(option)) for name, option in picks.taken.items()}
        for name, options in picks.offered.items():
            for option in options:
                if (name, repr(option)) not in asked:
                    asked.add((name, repr(option)))
                    waiting.append({**picks.taken, name: option})
    return found
