"""Optuna's pruner for a study."""

from __future__ import annotations

import warnings
from typing import assert_never

import optuna

from sweeper.config.pruner import (
    HyperbandConfig,
    MedianConfig,
    NoPrunerConfig,
    PatientConfig,
    PercentileConfig,
    PlateauConfig,
    PromoteConfig,
    PrunerConfig,
    SuccessiveHalvingConfig,
)
from sweeper.search.own_epochs import OwnEpochsPruner
from sweeper.search.percentile import ColumnPercentilePruner
from sweeper.search.plateau import Phases, PlateauPruner

MEDIAN = 50.0


def build_study_pruner(
    config: PrunerConfig, epochs: int, before: int, *, means: bool = False
) -> optuna.pruners.BasePruner:
    """Return the pruner of a study whose trials end with `epochs`; `before` of them are those of their source.

    `means`: trials report the mean over their folds so far.
    """
    if not before:
        return build_pruner(config, epochs, means=means)
    return OwnEpochsPruner(build_pruner(config, max(1, epochs - before)), before)


def build_pruner(
    config: PrunerConfig, epochs: int, *, settled: bool = True, means: bool = False
) -> optuna.pruners.BasePruner:
    """Return a pruner whose steps are epochs, and no trial is longer than `epochs`.

    `settled`: trials that it is shown as finished change no more. `means` as of `ColumnPercentilePruner`.
    """
    match config:
        case PercentileConfig() | MedianConfig():
            percentile = config.percentile if isinstance(config, PercentileConfig) else MEDIAN
            # Optuna counts steps from 0 and may prune in the one of this number; epochs are counted from 1.
            waiting = (config.startup_trials, config.warmup_epochs + 1, config.interval_epochs)
            if settled:
                return ColumnPercentilePruner(percentile, *waiting, means=means)
            return optuna.pruners.PercentilePruner(percentile, *waiting)
        case SuccessiveHalvingConfig():
            return optuna.pruners.SuccessiveHalvingPruner(
                config.min_epochs, config.reduction_factor, config.min_early_stopping_rate
            )
        case HyperbandConfig():
            # max_resource in figures: "auto" waits for a finished trial and then differs on resume.
            return optuna.pruners.HyperbandPruner(
                config.min_epochs, max(epochs, config.min_epochs), config.reduction_factor
            )
        case PatientConfig():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                wrapped = build_pruner(config.pruner, epochs, settled=settled, means=means)
                # Optuna counts the epochs after the first worse one, which is one of the `patience` here.
                return optuna.pruners.PatientPruner(wrapped, config.patience - 1, config.min_delta)
        case PlateauConfig():
            return _plateau_pruner(config, epochs)
        case NoPrunerConfig() | PromoteConfig():  # which pauses trials, and ends none while others run
            return optuna.pruners.NopPruner()
        case _:
            assert_never(config)


def _plateau_pruner(config: PlateauConfig, epochs: int) -> PlateauPruner:
    phase_epochs = config.phase_epochs or max(1, epochs // 2)
    phases = Phases(config.first_epochs, phase_epochs, config.grace_epochs)
    fewest = max(phases.ends([], epochs).values(), default=1)  # those of a trial whose rate is never reduced
    return PlateauPruner(build_pruner(config.pruner, fewest, settled=False), phases)  # it shows running ones, too
