"""`SweepConfig`: the whole of a search-space file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sweeper.config.dataset import DatasetConfig
from sweeper.config.hyperparameters import Frozen, Metric, TrialConfig
from sweeper.config.pruner import MedianConfig, PrunerConfig
from sweeper.config.sampler import SamplerConfig, TpeConfig
from sweeper.config.space import searchable
from sweeper.config.task import CLASSIFICATION, TaskConfig, reconstructs
from sweeper.config.tracking import TrackingConfig

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(value: Any) -> Any:
    """Turn `90`, `"45m"`, `"8h"` or `"1d12h"` into seconds."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", value.strip()):
        raise ValueError("should be seconds or a duration like 45m, 8h or 1d12h")
    return sum(float(number) * SECONDS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)([smhd])", value))


class ObjectiveConfig(Frozen):
    """The number by which trials are compared: its best epoch counts."""

    metric: Metric = Field("val/accuracy", description="Of a reconstruction val/psnr, unless named.")
    direction: Literal["maximize", "minimize"] = Field("maximize", description="minimize is right for a loss.")

    @model_validator(mode="before")
    @classmethod
    def _loss_is_minimized(cls, value: Any) -> Any:
        if isinstance(value, dict) and str(value.get("metric", "")).endswith("/loss"):
            return {"direction": "minimize", **value}
        return value

    def better(self, value: float, than: float | None) -> bool:
        """Tell whether `value` is strictly better than another value, or there is no other."""
        if than is None:
            return True
        return value > than if self.direction == "maximize" else value < than


class BudgetConfig(Frozen):
    """How much may be tried."""

    trials: PositiveInt = Field(20, description="Trials in the study, over all runs of the command.")
    epochs: PositiveInt = Field(10, description="Longest training of one trial.")
    timeout: Annotated[PositiveFloat | None, BeforeValidator(duration)] = Field(
        None, description="Seconds, or a duration like 8h, after which no new trial starts."
    )
    patience: PositiveInt | None = Field(
        None, description="Stop a trial after so many epochs without a better objective; without it, never."
    )
    max_consecutive_failures: PositiveInt = Field(
        5, description="Stop the study after so many failed trials in a row with the same reason."
    )


def is_a_plain_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("should be 1 to 100 letters, digits, dots, dashes and underscores, since it names folders")
    return value


class FeaturesConfig(Frozen):
    """How heads on frozen backbones are trained: from features, computed once for all trials."""

    cache: bool = Field(
        True,
        description="With `trainable: head` and pretrained weights, train the head on the backbone's stored output. "
        "Trials with CutMix, which needs pixels, go through the backbone.",
    )
    views: PositiveInt = Field(
        4, description="Augmented views kept of each training image, taken in turn by epoch; one where nothing changes."
    )
    fuse: PositiveInt = Field(
        1,
        description="Trials that are suggested together, and trained at once as far as they have features, batch size "
        "and shape of the head in common; 1 suggests each with the knowledge of all before it.",
    )


class SweepConfig(Frozen):
    """A search-space file: what is searched, on which data, by which means and for how long."""

    study: Annotated[str, AfterValidator(is_a_plain_name)] = Field(description="Name of the study.")
    task: TaskConfig = CLASSIFICATION
    dataset: DatasetConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    budget: BudgetConfig = BudgetConfig()
    sampler: SamplerConfig = TpeConfig(name="tpe")
    pruner: PrunerConfig = MedianConfig(name="median")
    features: FeaturesConfig = FeaturesConfig()
    tracking: TrackingConfig = TrackingConfig()
    keep_optimizer: bool = Field(
        False,
        description="Keep the optimizer's state beside the best weights of each trial, for `sweeper train "
        "--with-optimizer`; Adam's takes twice the space of the weights.",
    )
    seed: NonNegativeInt = 0
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps.", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    model_files: tuple[str, ...] = Field(
        (), description="Python files that register architectures; they are code and are run."
    )
    search: searchable(TrialConfig) = Field(description="The hyperparameters, each a value or a distribution.")  # type: ignore[valid-type]

    @model_validator(mode="before")
    @classmethod
    def _objective_of_the_task(cls, value: Any) -> Any:
        if isinstance(value, dict) and reconstructs(value.get("task")):
            given = value.get("objective", {})
            return {**value, "objective": {"metric": "val/psnr", **given}} if isinstance(given, dict) else value
        return value

    def fingerprint(self) -> dict[str, Any]:
        """Return what must not change while a study is continued."""
        kept = {"search", "dataset", "objective", "sampler", "pruner", "features", "seed", "model_files"}
        fixed = self.model_dump(mode="json", by_alias=True, include=kept)
        fixed["task"] = self.task.name
        fixed["epochs"] = self.budget.epochs
        fixed["patience"] = self.budget.patience
        return fixed


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a search space, for completion and checks in an editor."""
    schema = SweepConfig.model_json_schema(by_alias=True)
    schema["title"] = "sweeper search space"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
