"""Optuna's sampler for one trial."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from sweeper.config.sampler import CmaEsConfig, GpConfig, GridConfig, NsgaConfig, QmcConfig, SamplerConfig, TpeConfig
from sweeper.search.recent_history import recent_history


def trial_seed(study_seed: int, number: int) -> int:
    """Return the seed of one trial: 32 bits that differ for every study seed and number."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0])


def new_common_space() -> IntersectionSearchSpace:
    """Return what works out the parameters that all trials of a study have in common, and goes on where it was."""
    return IntersectionSearchSpace(include_pruned=True)


def build_sampler(
    config: SamplerConfig,
    study_seed: int,
    number: int,
    combination: dict[str, Any] | None,
    common: IntersectionSearchSpace,
) -> optuna.samplers.BaseSampler:
    """Return the sampler that suggests trial `number`, seeded by it.

    A new one for every trial, so that a continued study draws what an uninterrupted one would.
    `combination` are the parameters of this trial for the grid. `common` is kept from one trial of the study to
    the next.
    """
    seed = trial_seed(study_seed, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match config:
            case TpeConfig(startup_trials=startup, multivariate=multivariate):
                return _InformedTPESampler(common, n_startup_trials=startup, multivariate=multivariate, seed=seed)
            case GpConfig(startup_trials=startup):
                return optuna.samplers.GPSampler(n_startup_trials=startup, seed=seed)
            case CmaEsConfig(startup_trials=startup):
                return optuna.samplers.CmaEsSampler(n_startup_trials=startup, seed=seed)
            case QmcConfig(sequence=sequence):
                # One sequence for the whole study: scrambled by the study's seed, not the trial's.
                return _NumberedQMCSampler(
                    number,
                    qmc_type=sequence,
                    scramble=True,
                    seed=study_seed,
                    independent_sampler=optuna.samplers.RandomSampler(seed),
                )
            case NsgaConfig(population=population):
                return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
            case GridConfig():
                return optuna.samplers.PartialFixedSampler(combination or {}, optuna.samplers.RandomSampler(seed))
            case _:
                return optuna.samplers.RandomSampler(seed)


class _InformedTPESampler(optuna.samplers.TPESampler):
    """Knows what those of earlier trials have found all trials to have in common, which follows from the trials alone.

    To compare a thousand trials anew for each one would take longer than all else that a suggestion does. In a long
    study it learns from the best trials and the newest.
    """

    def __init__(self, common: IntersectionSearchSpace, **options: Any):
        super().__init__(**options)
        self._search_space = common
        self._shown: Any = None  # one trial is suggested, so that what is shown is worked out once

    def _history(self, study: optuna.Study) -> Any:
        self._shown = self._shown or recent_history(study)
        return self._shown

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        return super().sample_relative(self._history(study), trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, distribution: Any) -> Any:
        return super().sample_independent(self._history(study), trial, param_name, distribution)


class _NumberedQMCSampler(optuna.samplers.QMCSampler):
    """Gives each trial the point of its number; Optuna counts asks, and a continued trial is asked for twice."""

    def __init__(self, number: int, **options: Any):
        super().__init__(**options)
        self._number = number

    def _find_sample_id(self, *_: Any) -> int:
        return self._number
