"""What the networks of a study are to do: the `task` section, and what each task measures."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field

from sweeper.config.bounds import Epochs, Whole
from sweeper.config.frozen import Frozen, name_of, named
from sweeper.config.hyperparameters import ClassificationMetric, Metric, ReconstructionMetric


class ClassificationConfig(Frozen):
    """Name the class of every image."""

    name: Literal["classification"]


class ReconstructionConfig(Frozen):
    """Give every image back through a narrow latent: a backbone with a decoder, judged by its mean squared error."""

    name: Literal["reconstruction"]
    every: Epochs = Field(
        5, description="Epochs between two pictures of reconstructions; those of the first, best and last always are."
    )
    images: Annotated[Whole, Field(ge=1, le=64)] = Field(10, description="How many validation images a picture shows.")


TaskConfig = Annotated[ClassificationConfig | ReconstructionConfig, Discriminator("name"), BeforeValidator(named)]

METRICS: dict[str, tuple[Metric, ...]] = {
    "classification": get_args(ClassificationMetric),
    "reconstruction": get_args(ReconstructionMetric),
}
"""What each task measures in every epoch, and a trial may be judged by."""

CLASSIFICATION = ClassificationConfig(name="classification")


def reconstructs(task: Any) -> bool:
    """Return whether a `task` section, as it was written, asks for reconstruction."""
    return bool(name_of(named(task)) == "reconstruction")
