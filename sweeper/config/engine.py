"""Where trials run: the `engine` section. It may be changed while a study is continued."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field

from sweeper.config.bounds import LONGEST_S, Real, duration
from sweeper.config.hyperparameters import Frozen, named


class LocalConfig(Frozen):
    """Worker processes on this machine."""

    name: Literal["local"]


class RayConfig(Frozen):
    """Workers on the nodes of a Ray cluster; needs the extra `sweeper[ray]`."""

    name: Literal["ray"]
    address: Annotated[str, Field(min_length=1)] = Field(
        "auto", description="HOST:PORT of the cluster's head; auto: the cluster of this machine; local: start one here."
    )
    cpus_per_trial: Annotated[Real, Field(gt=0, le=1024)] = Field(1.0, description="CPUs that each trial gets.")
    gpus_per_trial: Annotated[Real | None, Field(ge=0, le=64)] = Field(
        None, description="GPUs that each trial gets; 0.5 lets two share one. By default 1 where the cluster has any."
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


EngineConfig = Annotated[LocalConfig | RayConfig, BeforeValidator(named), Discriminator("name")]
