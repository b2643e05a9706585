"""The hyperparameters of trials in a line: those in which the trials differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sweeper.config.flatten import flatten
from sweeper.config.hyperparameters import TrialConfig
from sweeper.results import TrialRow


class Differences:
    """The hyperparameters that have different values in the trials added so far."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}
        self._apart: set[str] = set()

    def add(self, config: dict[str, Any]) -> None:
        """Take the configuration of a further trial, as plain JSON."""
        self._compare(config, self._seen, "")

    def _compare(self, config: dict[str, Any], seen: dict[str, Any], within: str) -> None:
        """Add the names of values that differ from those seen first; parts that are equal are not looked into."""
        for key, value in config.items():
            first = seen.setdefault(key, value)
            if value == first:
                continue
            if isinstance(value, dict) and isinstance(first, dict):
                seen[key] = first = dict(first)
                self._compare(value, first, f"{within}{key}.")
            else:
                self._apart.add(f"{within}{key}")

    @property
    def names(self) -> list[str]:
        """Their names, in the order of the configuration."""
        return [name for name in flatten(self._seen) if name in self._apart]


def told_apart_by(rows: Iterable[TrialRow]) -> list[str]:
    """Return the hyperparameters that have different values in these trials, in the order of the configuration."""
    differences = Differences()
    for row in rows:
        if row.config_json is not None:
            differences.add(json.loads(row.config_json))
    return differences.names


def settings_of(config: TrialConfig | None) -> dict[str, Any]:
    """Return all hyperparameters of a trial by their dotted names; none of an unknown configuration."""
    return flatten(config.model_dump(mode="json")) if config else {}


def in_full(config: TrialConfig | None, names: Sequence[str]) -> str:
    """Return the settings of these names in a line, by their dotted names: optimizer.name=adamw optimizer.lr=0.01."""
    settings = settings_of(config)
    return " ".join(f"{name}={short(settings[name])}" for name in names if name in settings)


def in_brief(config: TrialConfig | None, names: Sequence[str]) -> str:
    """Return them by the last part of the name where that is clear, and what has a name by that: adamw lr=0.01."""
    settings = settings_of(config)
    last = Counter(name.rpartition(".")[2] for name in names)
    brief: list[str] = []
    for name in names:
        value, (within, _, end) = settings.get(name), name.rpartition(".")
        if name == "backbone" or (within and end == "name" and value != "none"):
            brief += [str(value)] if value is not None else []
        elif name in settings:
            brief.append(f"{end if last[end] == 1 else name}={short(value)}")
    return " ".join(brief)


def short(value: Any) -> str:
    """Return a parameter's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
