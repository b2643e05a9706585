"""What pruners lose at equal cost, on recorded learning curves.

    python -m benchmarks.pruning benchmarks/curves/digits.json [--orders 100] [--workers 1] [--epochs 15] [--json FILE]

Every replay takes a random four fifths of the curves in random order and runs them through the product's
own pruners, with every setting below, as if they were trained one after another (or several at a time). It
counts the epochs spent and which good trials were pruned: the best one, and the best tenth. Families are
compared at equal cost (benchmarks/frontier.py), with 95 % intervals from resampling the replays.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.curve_replay import Curve, Setting, load_curves, replay
from benchmarks.frontier import Array, loss_at, resampled

LEVELS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)  # shares of the epochs that no pruning costs
SHARE = 0.8  # of the curves in a replay
DRAWS = 400
LOSSES = {"best tenth lost": "tenth", "best trial lost": "best", "regret in points": "regret"}
WORST = {"tenth": 1.0, "best": 1.0, "regret": 100.0}
BLIND = "plateau, percentile, rates hidden"


def settings() -> Iterator[Setting]:
    """Yield every setting; a plain pruner has more of them to be best with than one that is wrapped."""
    for percentile, warmup, startup in product((20, 30, 40, 50, 65, 80), (0, 4, 8, 16), (2, 5)):
        plain: dict[str, Any] = {
            "name": "percentile",
            "percentile": percentile,
            "warmup_epochs": warmup,
            "startup_trials": startup,
        }
        yield setting("median, percentile", **plain)
    for epochs, factor in product((1, 2, 4, 8), (2, 3, 4)):
        yield setting("successive halving", name="successive_halving", min_epochs=epochs, reduction_factor=factor)
        yield setting("hyperband", name="hyperband", min_epochs=epochs, reduction_factor=factor)
    for first, phase in product((2, 3), (15, 20)):
        wrapped: dict[str, Any] = {"name": "plateau", "first_epochs": first, "phase_epochs": phase}
        for percentile in (30, 40, 50, 60):
            keeping = {"name": "percentile", "percentile": percentile, "startup_trials": 2}
            yield setting("plateau, percentile", **wrapped, pruner=keeping)
            yield setting(BLIND, sees_rates=False, **wrapped, pruner=keeping)
        for factor in (2, 3):
            halving = {"name": "successive_halving", "reduction_factor": factor}
            yield setting("plateau, halving", **wrapped, pruner=halving)
    for first, factor in product((1, 2, 3, 4), (2, 3, 4)):
        rungs = [first * factor**power for power in range(6)]
        yield setting("promote, many rungs", name="promote", rungs=rungs, keep=1 / factor)
    for rung, keep in product((1, 2, 3, 5, 8), (0.1, 0.2, 0.3, 0.4, 0.5)):
        yield setting("promote, one rung", name="promote", rungs=[rung], keep=keep)


def setting(family: str, *, sees_rates: bool = True, **pruner: Any) -> Setting:
    return Setting(family, json.dumps(pruner), sees_rates)


def main() -> None:
    options = arguments()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves = load_curves(options.curves)
    if options.epochs:
        curves = [
            replace(curve, values=curve.values[: options.epochs], rates=curve.rates[: options.epochs])
            for curve in curves
        ]
    tried = list(settings())
    measured = measure(curves, tried, options.orders, options.workers, options.seed)
    result = compare(tried, measured) | {
        "curves": options.curves.name,
        "trials": len(curves),
        "orders": options.orders,
        "workers": options.workers,
        "optuna": optuna.__version__,
    }
    console = Console(width=140)
    for title, loss in LOSSES.items():
        console.print(table(f"{options.curves.stem}: {title} at a share of the epochs", result["losses"][loss]))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", type=Path)
    parser.add_argument("--orders", type=int, default=100, help="replays of every setting")
    parser.add_argument("--workers", type=int, default=1, help="trials that run at a time")
    parser.add_argument("--epochs", type=int, help="cut the curves after these, where their rates do not depend on it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(
    curves: Sequence[Curve], tried: Sequence[Setting], orders: int, workers: int, seed: int
) -> dict[str, Array]:
    """Return the cost and the losses of each setting in each replay, [S, R]."""
    dice = np.random.default_rng(seed)
    size = round(SHARE * len(curves))
    found: dict[str, list[list[float]]] = {name: [] for name in ("cost", *LOSSES.values())}
    for order in track(range(orders), description="replays", console=Console(stderr=True)):
        drawn = [curves[index] for index in dice.permutation(len(curves))[:size]]
        judged = [judge(drawn, replay(drawn, one, f"{seed}-{order}", workers)) for one in tried]
        for name, column in found.items():
            column.append([row[name] for row in judged])
    return {name: np.array(rows).T for name, rows in found.items()}


def judge(curves: Sequence[Curve], pruned: Sequence[int | None]) -> dict[str, float]:
    """Return what a replay cost, as a share, and what it lost."""
    epochs = [len(curve.values) if at is None else at for curve, at in zip(curves, pruned, strict=True)]
    ranked = sorted(range(len(curves)), key=lambda index: -curves[index].final)
    tenth = ranked[: max(1, round(len(curves) / 10))]
    left = [curve.final for curve, at in zip(curves, pruned, strict=True) if at is None]
    return {
        "cost": sum(epochs) / sum(len(curve.values) for curve in curves),
        "tenth": sum(pruned[index] is not None for index in tenth) / len(tenth),
        "best": float(pruned[ranked[0]] is not None),
        "regret": 100 * (curves[ranked[0]].final - max(left, default=0.0)),
    }


def compare(tried: Sequence[Setting], measured: dict[str, Array]) -> dict[str, Any]:
    """Return each family's losses at each level of cost, and every setting with its means."""
    families = list(dict.fromkeys(one.family for one in tried))
    orders = measured["cost"].shape[1]
    draws = np.random.default_rng(0).integers(orders, size=(DRAWS, orders))
    losses = {
        loss: {
            family: at_levels(rows_of(tried, family), measured["cost"], measured[loss], draws, WORST[loss])
            for family in families
        }
        for loss in LOSSES.values()
    }
    means = {name: rows.mean(1).round(4).tolist() for name, rows in measured.items()}
    every = [
        {
            "family": one.family,
            "pruner": json.loads(one.pruner),
            **{name: values[index] for name, values in means.items()},
        }
        for index, one in enumerate(tried)
    ]
    return {"levels": LEVELS, "losses": losses, "settings": every}


def rows_of(tried: Sequence[Setting], family: str) -> list[int]:
    return [index for index, one in enumerate(tried) if one.family == family]


def at_levels(
    rows: list[int], cost: Array, loss: Array, draws: NDArray[np.int64], worst: float
) -> list[list[float | None]]:
    """Return mean, lower and upper bound of a family's loss at each level; None where it is never so cheap.

    A draw in which it is not so cheap counts as the `worst` there can be.
    """
    mean = loss_at(LEVELS, cost[rows].mean(1), loss[rows].mean(1))
    spread = resampled(LEVELS, cost[rows], loss[rows], draws)
    bounds = np.where(np.isnan(mean), np.nan, np.percentile(np.nan_to_num(spread, nan=worst), [2.5, 97.5], axis=0))
    return [[None if np.isnan(value) else round(float(value), 4) for value in row] for row in (mean, *bounds)]


def table(title: str, losses: dict[str, list[list[float | None]]]) -> Table:
    shown = Table(title=title)
    for heading in ("", *(f"{level:.0%}" for level in LEVELS)):
        shown.add_column(heading, justify="right" if heading else "left")
    for family, (means, lows, highs) in losses.items():
        cells = [
            "-" if mean is None else f"{mean:.2f} ({low:.2f}-{high:.2f})"
            for mean, low, high in zip(means, lows, highs, strict=True)
        ]
        shown.add_row(family, *cells)
    return shown


if __name__ == "__main__":
    main()
