"""Every combination of a finite search space, conditional branches included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem
from sweeper.search.suggest import suggest

LARGEST_GRID = 100_000


class _Odometer:
    """Answers suggestions with the options at its positions and learns how many each has."""

    def __init__(self, positions: list[int]):
        self.positions = positions
        self.sizes: list[int] = []
        self.params: dict[str, Any] = {}

    def _pick(self, name: str, options: Sequence[Any]) -> Any:
        if len(options) > LARGEST_GRID:
            raise _too_large()
        depth = len(self.sizes)
        if depth == len(self.positions):
            self.positions.append(0)
        self.sizes.append(len(options))
        self.params[name] = options[self.positions[depth]]
        return self.params[name]

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if low == high:
            return float(self._pick(name, [low]))
        if step is None:
            rule = "the grid sampler needs finitely many values; give this range a `step` or list a `choice`"
            raise ConfigError(
                [Problem(IN_SEARCH_SPACE, f"search.{name}", f"{rule}, got [{low:g}, {high:g}], log={log}")]
            )
        count = int((high - low) / step + 1e-9) + 1
        index = int(self._pick(name, range(count)))
        self.params[name] = min(low + index * step, high)
        return float(self.params[name])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:  # noqa: ARG002
        return int(self._pick(name, range(low, high + 1, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._pick(name, choices)

    def advance(self) -> bool:
        """Move to the next combination; False after the last."""
        self.positions = self.positions[: len(self.sizes)]
        while self.positions and self.positions[-1] + 1 >= self.sizes[len(self.positions) - 1]:
            self.positions.pop()
        if not self.positions:
            return False
        self.positions[-1] += 1
        return True


def grid(space: BaseModel, seed: int) -> list[dict[str, Any]]:
    """Return the parameters of every combination, shuffled by the seed.

    Raises ConfigError for a range without steps and for more than 100,000 combinations.
    """
    found = list(combinations(space))
    return [found[index] for index in np.random.default_rng(seed).permutation(len(found))]


def combinations(space: BaseModel) -> Iterator[dict[str, Any]]:
    """Yield the parameters of one combination after another. Raises ConfigError as `grid` does."""
    odometer = _Odometer([])
    for _ in range(LARGEST_GRID):
        suggest(space, odometer)
        yield odometer.params
        if not odometer.advance():
            return
        odometer = _Odometer(odometer.positions)
    raise _too_large()


def _too_large() -> ConfigError:
    rule = f"the grid has more than {LARGEST_GRID:,} combinations; use fewer choices or another sampler"
    return ConfigError([Problem(IN_SEARCH_SPACE, "search", rule)])
