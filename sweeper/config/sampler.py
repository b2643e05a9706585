"""Which configuration is tried next: the `sampler` section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field

from sweeper.config.bounds import Trials, TrialsOrNone, Whole
from sweeper.config.frozen import Frozen, named


class TpeConfig(Frozen):
    """Tree-structured Parzen estimator."""

    name: Literal["tpe"]
    startup_trials: TrialsOrNone = Field(10, description="Random trials before the model is used.")
    multivariate: bool | None = Field(
        None, description="Model all parameters together, not each for itself; by default with one objective."
    )


class RandomConfig(Frozen):
    name: Literal["random"]


class GpConfig(Frozen):
    """Gaussian process."""

    name: Literal["gp"]
    startup_trials: TrialsOrNone = Field(10, description="Random trials before the model is used.")


class CmaEsConfig(Frozen):
    """CMA-ES, for numeric parameters; the others are drawn at random."""

    name: Literal["cmaes"]
    startup_trials: Trials = Field(1, description="Random trials before the strategy starts.")


class QmcConfig(Frozen):
    """Quasi-Monte Carlo: evenly spread points."""

    name: Literal["qmc"]
    sequence: Literal["sobol", "halton"] = Field("sobol", description="Which sequence of points.")


class NsgaConfig(Frozen):
    """NSGA-II, an evolutionary search; made for several objectives."""

    name: Literal["nsga2"]
    population: Annotated[Whole, Field(ge=2, le=100_000)] = Field(
        20, description="Trials of a generation; the first is random."
    )


class GridConfig(Frozen):
    """Every combination once, in seeded random order; needs choices and stepped ranges only."""

    name: Literal["grid"]


SamplerConfig = Annotated[
    TpeConfig | RandomConfig | GpConfig | CmaEsConfig | QmcConfig | NsgaConfig | GridConfig,
    Discriminator("name"),
    BeforeValidator(named),
]
