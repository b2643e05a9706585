"""What it costs in search quality that TPE learns from the best and the newest trials of a long study alone.

    python -m benchmarks.bounded_history [--trials 1000] [--best 50] [--newest 200] [--seeds 20]

Studies are searched twice with the same seed: with all trials shown to TPE, and with few: a quarter of them, since TPE
takes a tenth of those that it is shown, at most 25, for the best. A study's regret is how far its best value is from
the best there is.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from typing import Any

import optuna

from benchmarks.measurements import Measurement, Result, Section
from sweeper.config.sampler import TpeConfig
from sweeper.search.recent_history import recent_history
from sweeper.search.samplers import build_sampler, new_common_space

EVERY = 10_000_000


def main() -> None:
    options = arguments()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    result = Result("bounded_history", "none")
    for name, regret in FUNCTIONS.items():
        result.add(compared(name, regret, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--best", type=int, default=50, help="of the earlier trials that TPE is shown")
    parser.add_argument("--newest", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=20)
    return parser.parse_args()


def ackley(trial: optuna.Trial) -> float:
    """Many small valleys around a deep one, in 5 dimensions."""
    point = [trial.suggest_float(f"x{number}", -5, 5) - 1.2 for number in range(5)]
    spread = math.sqrt(statistics.fmean(x**2 for x in point))
    waves = statistics.fmean(math.cos(2 * math.pi * x) for x in point)
    return 20 - 20 * math.exp(-0.2 * spread) + math.e - math.exp(waves)


def sweep_like(trial: optuna.Trial) -> float:
    """A loss as of a sweep: a rate on a logarithmic scale, a choice with a parameter of its own, and noise."""
    kind = trial.suggest_categorical("optimizer", ["adamw", "sgd", "lion"])
    rate = math.log10(trial.suggest_float(f"{kind}.lr", 1e-5, 1, log=True))
    decay = math.log10(trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True))
    drop = trial.suggest_float("drop_rate", 0, 0.6)
    away = {"adamw": 0.0, "sgd": 0.05, "lion": 0.1}[kind]
    best_rate = {"adamw": -3.0, "sgd": -1.0, "lion": -3.8}[kind]
    return away + 0.1 * (rate - best_rate) ** 2 + 0.03 * (decay + 3.5) ** 2 + 0.5 * (drop - 0.2) ** 2


FUNCTIONS: dict[str, Callable[[optuna.Trial], float]] = {"Ackley": ackley, "a loss as of a sweep": sweep_like}


def compared(name: str, regret: Callable[[optuna.Trial], float], options: argparse.Namespace) -> Section:
    shown = {"all trials": (EVERY, 0), "the best and the newest": (options.newest, options.best)}
    found: dict[str, list[float]] = {how: [] for how in shown}
    for seed in range(options.seeds):
        for how, window in shown.items():
            found[how].append(searched(regret, options.trials, seed, *window))
    whole, part = found.values()
    apart = [few - every for every, few in zip(whole, part, strict=True)]
    rows = [Measurement(f"regret, {how}", "", values) for how, values in found.items()]
    rows.append(Measurement("difference with the same seed", "", apart))
    worse = sum(difference > 0 for difference in apart)
    bounded = f"the {options.best} best and the {options.newest} newest"
    note = f"{worse} of {options.seeds} seeds are worse with {bounded}."
    return Section(f"{name}, {options.trials} trials", rows, note)


def searched(regret: Callable[[optuna.Trial], float], trials: int, seed: int, newest: int, best: int) -> float:
    """Return the lowest regret of a study, as the program searches: with a new sampler for each trial."""
    study, common = optuna.create_study(direction="minimize"), new_common_space()
    lowest = math.inf
    for number in range(trials):
        study.sampler = windowed(build_sampler(TpeConfig(name="tpe"), seed, number, None, common), newest, best)
        trial = study.ask()
        value = regret(trial)
        study.tell(trial, value)
        lowest = min(lowest, value)
    return lowest


def windowed(sampler: Any, newest: int, best: int) -> Any:
    """Return a sampler of the program with another window."""
    sampler._history = lambda study: recent_history(study, newest, best)
    return sampler


if __name__ == "__main__":
    main()
