"""Where trials run: the `engine` section. It may be changed while a study is continued."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, field_validator, model_validator

from sweeper.config.bounds import LONGEST_S, Probability, Real, Seconds, Seed, Whole, duration
from sweeper.config.frozen import Frozen, named


class LocalConfig(Frozen):
    """Worker processes on this machine."""

    name: Literal["local"]


class RayConfig(Frozen):
    """Workers on the nodes of a Ray cluster; needs the extra `ray` (README.md)."""

    name: Literal["ray"]
    address: Annotated[str, Field(min_length=1)] = Field(
        "auto", description="HOST:PORT of the cluster's head; auto: the cluster of this machine; local: start one here."
    )
    cpus_per_trial: Annotated[Real, Field(gt=0, le=1024)] = Field(1.0, description="CPUs that each trial gets.")
    gpus_per_trial: Annotated[Real | None, Field(ge=0, le=64)] = Field(
        None,
        description="GPUs that each trial gets; 0.5 lets two share one. By default devices_per_trial where the "
        "cluster has any.",
    )
    spread: bool = Field(
        True,
        description="Whether a trial with devices_per_trial above 1 may be on several nodes, where no single one of "
        "them has room for all of it. A node that has room for whole trials takes whole trials alone.",
    )
    shared: Annotated[str | None, Field(min_length=1)] = Field(
        None,
        description="A folder that all nodes see, or an address such as `s3://bucket/folder`, through which "
        "checkpoints and weights travel. Without it they travel through Ray.",
    )
    node_folder: Annotated[str | None, Field(min_length=1)] = Field(
        None,
        description="Where each node keeps decoded images and running trials; by default in its folder of temporary "
        "files.",
    )
    patience: Annotated[Real, Field(ge=6, le=LONGEST_S), BeforeValidator(duration)] = Field(
        30.0,
        description="Seconds, or a duration like 2m, for which a node may be silent before its trials go on elsewhere. "
        "A node that hears nothing of the driver for two thirds of it ends its workers itself.",
    )

    @field_validator("gpus_per_trial")
    @classmethod
    def _whole_above_one(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            raise ValueError(f"several GPUs are a whole number: Ray parts a single one alone, got {gpus:g}")
        return gpus


class FaultsConfig(Frozen):
    """How likely it is, in each epoch of a simulated trial, that something goes wrong."""

    killed: Probability = Field(0.0, description="Its worker is killed.")
    out_of_memory: Probability = Field(0.0, description="Its worker is killed because memory ran out.")
    machine_lost: Probability = Field(0.0, description="Its machine is lost, with all workers there.")
    silent: Probability = Field(0.0, description="Its worker says nothing for `silence`, then goes on.")
    failed: Probability = Field(0.0, description="The trial fails.")
    start: Probability = Field(
        0.0, description="A worker dies before it can take a trial; after three in a row its slot is given up."
    )

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        total = self.killed + self.out_of_memory + self.machine_lost + self.silent + self.failed
        if total > 1:
            raise ValueError(f"at most one thing goes wrong in an epoch, so these add up to 1 or less, got {total:g}")
        return self


class SimulateConfig(Frozen):
    """Trials follow learning curves in virtual time: nothing is trained, and no images are read."""

    name: Literal["simulate"]
    seed: Seed = Field(0, description="Everything that is drawn follows from it: curves, durations, speeds and faults.")
    curves: Annotated[str | None, Field(min_length=1)] = Field(
        None,
        description="A JSON file of recorded learning curves of the objective; a trial follows the one whose settings "
        "are nearest to its own. By default a parametric family.",
    )
    noise: Annotated[Real, Field(ge=0, le=1)] = Field(
        0.01, description="Standard deviation of the objective in an epoch, of curves that are not recorded."
    )
    epoch: Annotated[Seconds, BeforeValidator(duration)] = Field(
        10.0, description="Median duration of an epoch, in seconds or like 5m."
    )
    spread: Annotated[Real, Field(ge=0, le=3)] = Field(
        0.3, description="How much durations differ from trial to trial: the deviation of their logarithm."
    )
    speeds: Annotated[Real, Field(ge=0, le=3)] = Field(
        0.1, description="How much workers differ in speed: the deviation of its logarithm."
    )
    arrivals: Annotated[Real, Field(ge=0, le=LONGEST_S), BeforeValidator(duration)] = Field(
        0.0, description="Mean seconds between the arrivals of two workers; 0 lets all begin at once."
    )
    start: Annotated[Real, Field(ge=0, le=LONGEST_S), BeforeValidator(duration)] = Field(
        5.0, description="Seconds that a worker takes to start."
    )
    latency: Annotated[Real, Field(ge=0, le=LONGEST_S), BeforeValidator(duration)] = Field(
        0.0, description="Mean seconds that a report is on its way."
    )
    silence: Annotated[Seconds, BeforeValidator(duration)] = Field(
        3600.0, description="For how long a silent worker says nothing."
    )
    workers_per_machine: Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        8, description="Workers that are lost together with a machine."
    )
    faults: FaultsConfig = FaultsConfig()


EngineConfig = Annotated[LocalConfig | RayConfig | SimulateConfig, BeforeValidator(named), Discriminator("name")]
