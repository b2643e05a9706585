"""Which trials end early: the `pruner` section."""

from __future__ import annotations

from itertools import pairwise
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field

from sweeper.config.bounds import Change, Epochs, EpochsOrNone, Real, TrialsOrNone, Whole
from sweeper.config.frozen import Frozen, named
from sweeper.config.sampler import QmcConfig, RandomConfig, TpeConfig
from sweeper.config.searched import configurations

FEWEST_TRIALS = 10
"""Of fewer trials the best 30 % would be one or two."""

FEWEST_EPOCHS = 10
"""Of fewer epochs the first is more than a tenth."""


class MedianConfig(Frozen):
    """Prune a trial whose best value is worse than the median of earlier trials at the same epoch."""

    name: Literal["median"]
    startup_trials: TrialsOrNone = Field(5, description="Trials that are never pruned.")
    warmup_epochs: EpochsOrNone = Field(0, description="Epochs in which nothing is pruned.")
    interval_epochs: Epochs = Field(1, description="Epochs between two decisions.")


class PercentileConfig(MedianConfig):
    """As median, but keep only the best `percentile` per cent."""

    name: Literal["percentile"]  # type: ignore[assignment]
    percentile: Annotated[Real, Field(ge=0, le=100)] = Field(25.0, description="Per cent of the trials that go on.")


class SuccessiveHalvingConfig(Frozen):
    """Asynchronous successive halving (arXiv 1810.05934)."""

    name: Literal["successive_halving"]
    min_epochs: Epochs = Field(1, description="Epochs before the first decision.")
    reduction_factor: Annotated[Whole, Field(ge=2, le=1000)] = Field(4, description="One trial of this many goes on.")
    min_early_stopping_rate: Annotated[Whole, Field(ge=0, le=100)] = Field(
        0, description="Decisions that are left out at the start."
    )


class HyperbandConfig(Frozen):
    """Hyperband (arXiv 1603.06560); the longest training is `budget.epochs`."""

    name: Literal["hyperband"]
    min_epochs: Epochs = Field(1, description="Epochs before the first decision of the strictest bracket.")
    reduction_factor: Annotated[Whole, Field(ge=2, le=1000)] = Field(3, description="One trial of this many goes on.")


class PromoteConfig(Frozen):
    """Pause every trial at rungs and let the best of each go on (arXiv 2307.15422, 1810.05934; docs/pruning.md)."""

    name: Literal["promote"]
    keep: Annotated[Real, Field(gt=0, lt=1)] = Field(
        0.3, description="The share of the trials at a rung that goes on to the next, or to the end."
    )
    rungs: Annotated[tuple[Epochs, ...], Field(min_length=1)] | None = Field(
        None, description="Epochs after which trials pause; once, after a tenth of budget.epochs rounded up, if null."
    )


class NoPrunerConfig(Frozen):
    name: Literal["none"]


InnerPruner = Annotated[
    MedianConfig | PercentileConfig | SuccessiveHalvingConfig | HyperbandConfig | NoPrunerConfig,
    Discriminator("name"),
    BeforeValidator(named),
]


class PatientConfig(Frozen):
    """Let another pruner act only on a trial whose last `patience` epochs are all worse than its best before them."""

    name: Literal["patient"]
    patience: Epochs = Field(3, description="Epochs that must all be worse.")
    min_delta: Change = Field(0.0, description="Less of an improvement than this counts as none.")
    pruner: InnerPruner = Field(MedianConfig(name="median"), description="What decides then.")


class PlateauConfig(Frozen):
    """Let another pruner compare trials at the ends of phases, which follow the learning rate (docs/pruning.md)."""

    name: Literal["plateau"]
    first_epochs: Epochs = Field(3, description="Epochs in the first phase, whatever the learning rate does.")
    phase_epochs: Epochs | None = Field(
        None,
        description="A further phase ends after this number of epochs at the latest; half of budget.epochs if null.",
    )
    grace_epochs: Epochs = Field(
        5, description="Epochs at a reduced learning rate before the phase ends, so that its effect shows."
    )
    pruner: InnerPruner = Field(
        MedianConfig(name="median", startup_trials=2),
        description="Where its own settings count epochs, it counts phases here.",
    )


PrunerConfig = Annotated[
    MedianConfig
    | PercentileConfig
    | SuccessiveHalvingConfig
    | HyperbandConfig
    | PatientConfig
    | PlateauConfig
    | PromoteConfig
    | NoPrunerConfig,
    Discriminator("name"),
    BeforeValidator(named),
]


def default_pruner(rest: dict[str, Any]) -> MedianConfig | PromoteConfig | NoPrunerConfig:
    """Return the pruner of a search space that names none, by all its other keys.

    It is `promote`, which loses the fewest good trials (docs/pruning.md), except for few trials or epochs, where trials
    cannot pause, and with what learns from complete trials alone: some samplers, and `budget.stop_when`.
    """
    if rest.get("objectives"):
        return NoPrunerConfig(name="none")
    known = ("budget", "dataset", "features", "sampler", "search")
    budget, dataset, features, sampler, search = (rest.get(name) for name in known)
    if not (budget and dataset and features and sampler and search):  # one of them is wrong, and is told
        return MedianConfig(name="median")
    enough = min(budget.trials, configurations(search)) >= FEWEST_TRIALS and budget.epochs >= FEWEST_EPOCHS
    together = features.fuse > 1 or dataset.folds
    asks_for_complete = budget.stop_when or not isinstance(sampler, TpeConfig | RandomConfig | QmcConfig)
    pauses = enough and not together and not asks_for_complete
    return PromoteConfig(name="promote") if pauses else MedianConfig(name="median")


FIRST_RUNG = 10
"""The only rung, unless others are named, is after this part of the epochs, rounded up (docs/pruning.md)."""


def rungs(config: PromoteConfig, epochs: int, before: int = 0) -> tuple[int, ...]:
    """Return after which epochs trials pause, before the last one.

    `before`: epochs of the trial that they go on from, which number theirs; rungs count their own.
    """
    found = config.rungs if config.rungs is not None else (ceil((epochs - before) / FIRST_RUNG),)
    return tuple(sorted({before + rung for rung in found if before + rung < epochs}))


def epochs_expected(config: PromoteConfig, epochs: int) -> float:
    """Return how many of at most `epochs` a trial has on average: from each rung `keep` of the trials go on."""
    reached = (0, *rungs(config, epochs), epochs)
    return sum(config.keep**place * (end - start) for place, (start, end) in enumerate(pairwise(reached)))
