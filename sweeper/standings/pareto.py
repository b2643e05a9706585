"""Trials where several objectives count: which are beaten in none, in what order they stand, which to take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

import numpy as np
from pydantic import ValidationError

from sweeper.config.hyperparameters import Metric
from sweeper.config.sweep import COSTS, GoalConfig, SweepConfig
from sweeper.errors import ConfigError, Problem
from sweeper.results import TrialRow, TrialState
from sweeper.standings.ranking import ranked

ROUNDING = 1e-9
"""By how much a difference of two scores may miss its figure: 0.91 - 0.90 is a little more than 0.01."""


def pareto_front(rows: Iterable[TrialRow], goals: Sequence[GoalConfig]) -> frozenset[int]:
    """Return the numbers of the finished trials than which no other is better in one objective and worse in none."""
    points: dict[tuple[float, ...], list[int]] = {}
    for row in rows:
        if (point := _point(row, goals)) is not None:
            points.setdefault(point, []).append(row.number)
    return frozenset(number for point in _unbeaten(points) for number in points[point])


def _unbeaten(points: Iterable[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Return those of different points that no other beats.

    In ascending order none is beaten by a later one, so that each needs comparing only with the front so far.
    """
    ascending = sorted(points)
    front = np.empty((len(ascending), len(ascending[0]) if ascending else 0))
    kept: list[tuple[float, ...]] = []
    for point in ascending:
        if not (front[: len(kept)] <= point).all(axis=1).any():
            front[len(kept)] = point
            kept.append(point)
    return kept


def _point(row: TrialRow, goals: Sequence[GoalConfig]) -> tuple[float, ...] | None:
    """Return a finished trial's values, each the smaller the better."""
    if row.state is not TrialState.COMPLETE or row.outcome is None or row.outside is not None:
        return None
    values = [row.outcome.value_of(goal.metric) for goal in goals]
    if any(value is None for value in values):
        return None
    return tuple(
        -value if goal.direction == "maximize" else value
        for value, goal in zip(values, goals, strict=True)
        if value is not None
    )


def in_order(rows: Sequence[TrialRow], sweep: SweepConfig) -> list[TrialRow]:
    """Return the trials that have a rank, best first; of several objectives those on the Pareto front first."""
    order = ranked(rows, sweep.objective.direction)
    if not sweep.objectives:
        return order
    front = pareto_front(rows, sweep.objectives)
    return sorted(order, key=lambda row: row.number not in front)


def choose(
    rows: Sequence[TrialRow], sweep: SweepConfig, prefer: str | None = None, within: float | None = None
) -> TrialRow | None:
    """Return the trial to take, or None where none has finished.

    It is the one with the best `objective`, which is the first of several objectives that judges the model. With
    `prefer` it is the best in that metric; `within` leaves to choose from only trials whose objective is at
    most so much worse than the best. Of several objectives it is always one of the Pareto front.

    Raises ConfigError for a metric that trials do not have.
    """
    finished = [row for row in in_order(rows, sweep) if row.state is TrialState.COMPLETE]
    if sweep.objectives:
        front = pareto_front(rows, sweep.objectives)
        finished = [row for row in finished if row.number in front]
    if not finished or prefer is None:
        return next(iter(finished), None)
    goal = _goal(sweep, prefer)
    best = finished[0].value or 0.0
    near = [row for row in finished if within is None or abs((row.value or 0.0) - best) <= within + ROUNDING]
    points = {row.number: point[0] for row in near if (point := _point(row, [goal])) is not None}
    if not points:
        rule = f"no trial of {sweep.study} has a {prefer}; only objectives are measured at a cost"
        raise ConfigError([Problem("--prefer", "", rule)])
    return min((row for row in near if row.number in points), key=lambda row: points[row.number])


def _goal(sweep: SweepConfig, metric: str) -> GoalConfig:
    known = {goal.metric: goal for goal in sweep.goals}
    if metric in known:
        return known[metric]
    try:
        return GoalConfig.model_validate(metric)
    except ValidationError:
        names = ", ".join([*get_args(Metric), *COSTS])
        raise ConfigError([Problem("--prefer", "", f"{metric} is not a metric or a cost; known are {names}")]) from None
