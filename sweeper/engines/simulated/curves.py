"""Which learning curve a simulated trial follows: that of a parametric family, or a recorded one."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from sweeper.config.space import FloatRange, IntRange
from sweeper.config.space_membership import Node, fit
from sweeper.config.sweep import ObjectiveConfig
from sweeper.errors import ConfigError, Problem, first_line
from sweeper.results import TrialSpec

CURVES_KEY = "engine.curves"
BEST, SPREAD = 0.97, 0.8
"""Quality of the best settings, and by how much the worst are below."""


@dataclass(frozen=True)
class Curve:
    """The quality after each epoch, from 0 to 1, and the learning rates of the epochs where they are known."""

    qualities: tuple[float, ...]
    rates: tuple[float, ...] = ()


class Curves(Protocol):
    """Gives every trial a curve that follows from its settings and its seed alone."""

    def of(self, spec: TrialSpec) -> Curve:
        """Return the curve of a trial, of at least `spec.epochs` epochs."""


class Family:
    """Curves that rise to a limit, the higher the nearer the settings are to a place that the seed has chosen.

    Each parameter has its own best place and its own weight. The pace is the trial's chance, and each epoch has noise.

    Args:
        space: What is searched.
        seed: Chooses the best places.
        noise: Standard deviation of an epoch's quality.
    """

    def __init__(self, space: BaseModel, seed: int, noise: float):
        self._space = space
        self._seed = seed
        self._noise = noise

    def of(self, spec: TrialSpec) -> Curve:
        found = fit(self._space, spec.config.model_dump(mode="json"))
        limit = BEST - SPREAD * self._distance(found.params, found.nodes)
        dice = random.Random(f"{self._seed}/{spec.seed}")  # noqa: S311
        pace = spec.epochs * dice.uniform(0.05, 0.3)
        rising = (limit * (1 - math.exp(-epoch / pace)) for epoch in range(1, spec.epochs + 1))
        return Curve(tuple(min(1.0, max(0.0, value + dice.gauss(0, self._noise))) for value in rising))

    def _distance(self, params: Mapping[str, Any], nodes: Mapping[str, Node]) -> float:
        """Return how far settings are from the best ones, from 0 to 1."""
        total = weights = 0.0
        for name, value in params.items():
            dice = random.Random(f"{self._seed}/{name}")  # noqa: S311
            best, weight = dice.random(), dice.uniform(0.2, 1.0)
            off = abs(_place(value, nodes[name], dice) - best) / max(best, 1 - best)
            total, weights = total + weight * off**2, weights + weight
        return total / weights if weights else 0.0


def _place(value: Any, node: Node, dice: random.Random) -> float:
    """Return where a value lies in its range, from 0 to 1; options of a choice lie in any order."""
    if isinstance(node, FloatRange | IntRange):
        low, high = node.bounds
        if low == high:
            return 0.0
        return math.log(value / low) / math.log(high / low) if node.log else (value - low) / (high - low)
    order = list(range(len(node)))
    dice.shuffle(order)
    return order[node.index(value)] / max(1, len(node) - 1)


class RecordedTrial(BaseModel):
    """A trial of a file of recorded curves: its parameters by the sampler's names, its objective and rate by epoch."""

    params: dict[str, Any]
    values: tuple[float, ...]
    rates: tuple[float, ...] = ()


class Recording(BaseModel):
    """A file of recorded curves, as `benchmarks.record_curves` writes it."""

    metric: str
    trials: tuple[RecordedTrial, ...]


class Recorded:
    """Recorded curves: a trial follows the one whose settings are the nearest to its own.

    A trial that is longer than its curve stays at the last value.
    """

    def __init__(self, trials: tuple[RecordedTrial, ...], space: BaseModel, objective: ObjectiveConfig):
        self._trials = trials
        self._space = space
        self._metric = objective.metric
        self._spreads = {name: _spread(trials, name) for trial in trials for name in trial.params}

    @classmethod
    def read(cls, file: Path, space: BaseModel, objective: ObjectiveConfig) -> Recorded:
        """Read a file. Raises ConfigError where it holds no curves of the objective."""
        try:
            recording = Recording.model_validate(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            how = "benchmarks/record_curves.py writes some"
            told = f"{file} holds no recorded learning curves ({first_line(error)}); {how}"
            raise ConfigError([Problem("search space", CURVES_KEY, told)]) from error
        if recording.metric != objective.metric or not any(trial.values for trial in recording.trials):
            told = f"{file} holds curves of {recording.metric}, and the objective is {objective.metric}; name that one"
            raise ConfigError([Problem("search space", CURVES_KEY, told)])
        return cls(tuple(trial for trial in recording.trials if trial.values), space, objective)

    def of(self, spec: TrialSpec) -> Curve:
        params = fit(self._space, spec.config.model_dump(mode="json")).params
        nearest = min(self._trials, key=lambda trial: self._distance(trial.params, params))
        values = nearest.values + nearest.values[-1:] * (spec.epochs - len(nearest.values))
        rates = nearest.rates + nearest.rates[-1:] * (spec.epochs - len(nearest.rates))
        return Curve(tuple(as_quality(self._metric, value) for value in values), rates)

    def _distance(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
        names = one.keys() | other.keys()
        return sum(self._apart(name, one.get(name), other.get(name)) for name in names)

    def _apart(self, name: str, one: Any, other: Any) -> float:
        """Return how far two values of a parameter are apart, from 0 to 1; it is 1 where one trial has none."""
        spread = self._spreads.get(name)
        if spread is None or not (_is_number(one) and _is_number(other)):
            return float(one != other)
        return min(1.0, abs(spread.scaled(one) - spread.scaled(other)))


@dataclass(frozen=True)
class Spread:
    """The range of a number over the recorded trials; by its logarithm where it spans a factor of 20."""

    low: float
    high: float

    def scaled(self, value: float) -> float:
        if self.low > 0 and value > 0 and self.high / self.low > 20:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spread(trials: tuple[RecordedTrial, ...], name: str) -> Spread | None:
    values = [trial.params[name] for trial in trials if name in trial.params]
    return Spread(min(values), max(values)) if all(map(_is_number, values)) else None


def as_quality(metric: str, value: float) -> float:
    """Return the quality that a value of a metric stands for; see `as_metric`."""
    if metric.endswith("/loss"):
        return math.exp(-max(0.0, value))
    return (value - 10) / 30 if metric.endswith("/psnr") else value


def as_metric(metric: str, quality: float) -> float:
    """Return the value of a metric at a quality from 0 to 1.

    A loss is its negative logarithm, PSNR goes from 10 to 40 dB, all else is the quality itself.
    """
    if metric.endswith("/loss"):
        return -math.log(max(quality, 1e-6))
    return 10 + 30 * quality if metric.endswith("/psnr") else quality
