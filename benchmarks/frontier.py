"""What a family of pruners loses at equal cost.

Each setting of a family is a point: what share of all epochs it spent, and what it lost by that. Drawing
one of two settings by chance gives every point between them, so that a family's loss at a given cost lies
on the lower convex hull of its points and of the one that every family has: no pruning, nothing lost.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def loss_at(levels: Iterable[float], costs: Array, losses: Array) -> Array:
    """Return the least loss at each cost; NaN where no setting is so cheap.

    Args:
        levels: Costs, as shares of the epochs without pruning.
        costs: Of each setting, [S].
        losses: Of each setting, [S].
    """
    hull: list[tuple[float, float]] = []
    for point in sorted([*zip(costs.tolist(), losses.tolist(), strict=True), (1.0, 0.0)]):
        while len(hull) >= 2 and not _turns_left(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    x, y = np.array(hull).T
    found: Array = np.interp(np.array(list(levels)), x, np.minimum.accumulate(y), left=np.nan)
    return found


def _turns_left(first: tuple[float, float], second: tuple[float, float], third: tuple[float, float]) -> bool:
    (x, y), (u, v), (s, t) = first, second, third
    return (u - x) * (t - y) - (v - y) * (s - x) > 0


def resampled(levels: tuple[float, ...], costs: Array, losses: Array, draws: NDArray[np.int64]) -> Array:
    """Return the loss at each level, [D, L], for each draw of replays with replacement.

    Args:
        costs: Of each setting in each replay, [S, R].
        losses: Likewise.
        draws: Which replays are in each draw, [D, R]. The same for two families makes them a pair.
    """
    return np.array([loss_at(levels, costs[:, draw].mean(1), losses[:, draw].mean(1)) for draw in draws])
