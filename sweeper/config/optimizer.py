"""How weights learn from gradients: the settings of each optimizer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from sweeper.config.bounds import Beta, Epsilon, LearningRate, Rate, RateFactor, Real
from sweeper.config.frozen import Frozen, name_of, named


class AdamConfig(Frozen):
    """Adam and AdamW (decoupled weight decay)."""

    name: Literal["adam", "adamw"]
    lr: LearningRate = Field(1e-3, description="Learning rate.")
    head_lr_factor: RateFactor = Field(1.0, description="The head learns at lr times this.")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="Decay of the running means of gradient and square.")
    eps: Epsilon = Field(1e-8, description="Added to the denominator.")
    amsgrad: bool = Field(False, description="Keep the largest mean square (openreview ryQu7f-RZ).")


class SgdConfig(Frozen):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"]
    lr: LearningRate = Field(0.05, description="Learning rate.")
    head_lr_factor: RateFactor = Field(1.0, description="The head learns at lr times this.")
    momentum: Rate = Field(0.9, description="Part of the last step that goes into the next.")
    nesterov: bool = Field(True, description="Nesterov momentum; has no effect when momentum is 0.")


class ScheduleFreeConfig(Frozen):
    """AdamW that averages its own steps in place of a schedule (Defazio et al., arXiv 2405.15682)."""

    name: Literal["schedule_free_adamw"]
    lr: LearningRate = Field(
        2.5e-3, description="Learning rate, higher than AdamW's; with `scheduler: constant` and a warm-up."
    )
    head_lr_factor: RateFactor = Field(1.0, description="The head learns at lr times this.")
    betas: tuple[Annotated[Real, Field(gt=0, lt=1)], Beta] = Field((0.9, 0.999), description="As in Adam.")
    eps: Epsilon = Field(1e-8, description="Added to the denominator.")


class TimmOptimizerConfig(Frozen):
    """Any other optimizer that timm's factory makes, by its name there."""

    name: str = Field(
        min_length=1,
        description="A name of timm's list. On a GPU such steps are not recorded as CUDA graphs; adamp, sgdp, novograd "
        "and their variants wait for the GPU in each step.",
    )
    lr: LearningRate = Field(1e-3, description="Learning rate.")
    head_lr_factor: RateFactor = Field(1.0, description="The head learns at lr times this.")
    options: dict[str, bool | int | float | str] = Field({}, description="Further arguments of the optimizer.")


OWN_OPTIMIZERS = {
    "adam": "adam",
    "adamw": "adam",
    "sgd": "sgd",
    "schedule_free_adamw": "schedule_free",
}
"""Optimizers with settings of their own, by the tag of these; all others are timm's."""


def optimizer_kind(value: Any) -> str:
    name = name_of(value)
    return OWN_OPTIMIZERS.get(name, "timm") if isinstance(name, str) else "timm"


OptimizerConfig = Annotated[
    Annotated[AdamConfig, Tag("adam")]
    | Annotated[SgdConfig, Tag("sgd")]
    | Annotated[ScheduleFreeConfig, Tag("schedule_free")]
    | Annotated[TimmOptimizerConfig, Tag("timm")],
    Discriminator(optimizer_kind),
    BeforeValidator(named),
]
