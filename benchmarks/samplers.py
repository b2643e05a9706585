"""Which sampler finds good settings soonest, on what a model of recorded trials says of any setting.

    python -m benchmarks.samplers benchmarks/curves/*.yaml [--seeds 20] [--trials 40] [--json FILE]

Beside each search space lie the trials that it has given, whole (benchmarks.record_curves). A forest of extremely
randomised trees is fitted to their scores; a sampler then asks it as it would train (surrogate benchmarks,
Eggensperger et al., AAAI 2015). The samplers are the product's own, a new one for each trial. What is told is the
regret: how far the best setting so far lies below the best of 20,000 random ones, mean over the seeds with a 95 %
interval by resampling them. How well the forest knows the trials is told too: the rank correlation for trials that it
was not fitted to.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import cross_val_predict

from sweeper.config.loading import load_sweep
from sweeper.config.sampler import SamplerConfig
from sweeper.config.sweep import SweepConfig
from sweeper.search.samplers import build_sampler, new_common_space
from sweeper.search.suggest import suggest

Array = NDArray[np.float64]
SAMPLERS = ("random", "qmc", "tpe", "gp")
TOLD = (10, 20, 40)
"""After how many trials the regret is told."""

DRAWN = 20_000
DRAWS = 2000
ABSENT = -1.0
CONFIGS: TypeAdapter[SamplerConfig] = TypeAdapter(SamplerConfig)


@dataclass(frozen=True)
class Surrogate:
    """Foretells the score of settings from trials that were made."""

    columns: tuple[str, ...]
    options: Mapping[str, tuple[Any, ...]]
    forest: ExtraTreesRegressor
    correlation: float
    best: float

    def __call__(self, settings: Sequence[Mapping[str, Any]]) -> Array:
        found: Array = self.forest.predict(encoded(settings, self.columns, self.options))
        return found


def encoded(settings: Sequence[Mapping[str, Any]], columns: Sequence[str], options: Mapping[str, Any]) -> Array:
    """Return settings as numbers, [N, columns]: rates by their logarithm, choices by their place, what is absent -1."""

    def number(name: str, value: Any) -> float:
        if value is None:
            return ABSENT
        return float(options[name].index(value)) if name in options else float(np.log10(max(value, 1e-12)))

    return np.array([[number(name, given.get(name)) for name in columns] for given in settings])


def fitted(space: Path) -> tuple[SweepConfig, Surrogate]:
    """Return a search space, and what is known of it from the trials that lie beside it."""
    sweep, content = load_sweep(space), json.loads(space.with_suffix(".json").read_text())
    if content["direction"] != "maximize":
        raise SystemExit(f"{space}: the objective is to be maximized")
    settings = [trial["params"] for trial in content["trials"]]
    scores = np.array([max(trial["values"]) for trial in content["trials"]])
    columns = tuple(sorted({name for given in settings for name in given}))
    texts = {name for given in settings for name, value in given.items() if isinstance(value, str)}
    options = {name: tuple(sorted({given[name] for given in settings if name in given})) for name in texts}
    numbers = encoded(settings, columns, options)
    forest = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0)
    outside = cross_val_predict(forest, numbers, scores, cv=len(scores) // 4)
    forest.fit(numbers, scores)
    known = Surrogate(columns, options, forest, float(spearmanr(outside, scores).statistic), 0.0)
    everything = known(drawn(sweep, DRAWN))
    return sweep, Surrogate(columns, options, forest, known.correlation, float(everything.max()))


def drawn(sweep: SweepConfig, count: int) -> list[dict[str, Any]]:
    """Return random settings of a search space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = []
    for _ in range(count):
        trial = optuna.Trial(study, study._storage.create_new_trial(study._study_id))
        suggest(sweep.search, trial)
        found.append(trial.params)
    return found


def curve(sweep: SweepConfig, surrogate: Surrogate, sampler: str, seed: int, trials: int) -> Array:
    """Return the regret after each trial of one study, [trials]."""
    config = CONFIGS.validate_python({"name": sampler})
    study = optuna.create_study(direction="maximize")
    common, best = new_common_space(), list[float]()
    for number in range(trials):
        study.sampler = build_sampler(config, seed, number, None, common)
        trial = study.ask()
        suggest(sweep.search, trial)
        value = float(surrogate([trial.params])[0])
        study.tell(trial, value)
        best.append(max(value, best[-1] if best else value))
    return surrogate.best - np.array(best)


def interval(values: Array) -> tuple[float, float, float]:
    """Return the mean of values, [seeds], with its 95 % interval by resampling."""
    draws = np.random.default_rng(0).choice(values, (DRAWS, len(values))).mean(1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=max(TOLD))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, Any] = {}
    for space in given.spaces:
        sweep, surrogate = fitted(space)
        regrets = {
            sampler: np.array(
                [
                    curve(sweep, surrogate, sampler, seed, given.trials)
                    for seed in track(range(given.seeds), f"{space.stem}: {sampler}")
                ]
            )
            for sampler in SAMPLERS
        }
        found[space.stem] = {"correlation": surrogate.correlation, "best": surrogate.best}
        found[space.stem]["regret"] = {
            sampler: {str(told): interval(regrets[sampler][:, told - 1]) for told in TOLD if told <= given.trials}
            for sampler in SAMPLERS
        }
    Console().print(table(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


def table(found: Mapping[str, Any]) -> Table:
    shown = Table("points below the best", *(f"{name} ({known['correlation']:.2f})" for name, known in found.items()))
    for sampler in SAMPLERS:
        for told in next(iter(found.values()))["regret"][sampler]:
            cells = (known["regret"][sampler][told] for known in found.values())
            shown.add_row(
                f"{sampler}, {told} trials", *(f"{100 * m:.2f} ({100 * a:.2f} to {100 * b:.2f})" for m, a, b in cells)
            )
    return shown


if __name__ == "__main__":
    main()
