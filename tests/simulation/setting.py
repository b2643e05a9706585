"""What a seed decides before anything runs: the study, the workers, and how much goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from sweeper.config.engine import FaultsConfig, SimulateConfig
from sweeper.config.sweep import SweepConfig
from tests.simulation.world import Rates

EVERY_SQLITE = 40
"""Of so many seeds one has its study on SQLite, which takes ten times as long as memory."""

PRUNERS: list[dict[str, Any]] = [
    {"name": "none"},
    {"name": "median", "startup_trials": 1},
    {"name": "successive_halving", "reduction_factor": 2},
    {"name": "hyperband", "reduction_factor": 2},
    {"name": "promote"},
    {"name": "promote", "rungs": [1, 3], "keep": 0.5},
]
QUIET = Rates(switch=0.5, back=0.01)


@dataclass(frozen=True)
class Setting:
    """One simulated study and its troubles."""

    seed: int
    sweep: SweepConfig
    engine: SimulateConfig
    workers: int
    rates: Rates
    on_sqlite: bool


def setting_of(seed: int) -> Setting:
    """Return what a seed stands for; it is the same for as long as this function is."""
    dice = random.Random(f"setting {seed}")
    return Setting(
        seed,
        _sweep(dice),
        _engine(dice, seed),
        workers=dice.randint(1, 5),
        rates=Rates(
            kill=dice.choice([0.0, 0.005, 0.02, 0.05]),
            interrupt=dice.choice([0.0, 0.001, 0.005]),
            disk=dice.choice([0.0, 0.0, 0.005, 0.02]),
            storage=dice.choice([0.0, 0.0, 0.005]),
            server=dice.choice([0.0, 0.02, 0.2]),
            switch=dice.choice([0.01, 0.1, 0.5]),
            back=dice.choice([0.01, 0.1, 0.5]),
        ),
        on_sqlite=seed % EVERY_SQLITE == 0,
    )


def _sweep(dice: random.Random) -> SweepConfig:
    sampler: dict[str, Any] = {"name": "tpe", "startup_trials": 3} if dice.random() < 0.2 else {"name": "random"}
    budget = {
        "trials": dice.randint(2, 8),
        "epochs": dice.randint(1, 5),
        "stuck_after": dice.choice([None, 200.0]),
        "timeout": dice.choice([None, None, 500.0]),
        "patience": dice.choice([None, None, 2]),
        "max_consecutive_failures": dice.choice([2, 20]),
    }
    content = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "objective": {"metric": dice.choice(["val/accuracy", "val/loss"])},
        "budget": budget,
        "sampler": sampler,
        "pruner": (pruner := dice.choice(PRUNERS)),
        "features": {"fuse": 1 if pruner["name"] == "promote" else dice.choice([1, 1, 3])},
        "search": {
            "backbone": {"choice": ["a", "b"]},
            "drop_rate": {"float": [0, 0.5]},
            "weight_decay": {"float": [1e-6, 1e-2], "log": True},
        },
        "seed": dice.randrange(1000),
    }
    if dice.random() < 0.2:
        content["enqueue"] = {"mine": {"drop_rate": 0.25}}
    return SweepConfig.model_validate(content)


def _engine(dice: random.Random, seed: int) -> SimulateConfig:
    some = [0.0, 0.0, 0.05, 0.2]
    rates = {name: dice.choice(some) for name in ("killed", "out_of_memory", "machine_lost", "silent", "failed")}
    return SimulateConfig(
        name="simulate",
        seed=seed,
        epoch=20.0,
        spread=dice.choice([0.0, 1.0]),
        arrivals=dice.choice([0.0, 30.0]),
        latency=dice.choice([0.0, 15.0]),
        silence=400.0,
        workers_per_machine=dice.randint(1, 3),
        faults=FaultsConfig(**rates, start=dice.choice([0.0, 0.0, 0.4])),
    )
