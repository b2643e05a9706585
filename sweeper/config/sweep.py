"""`SweepConfig`: the whole of a search-space file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sweeper.config.bounds import Epochs, Images, Real, Seconds, Seed, Trials, Wait, Whole, duration
from sweeper.config.dataset import DatasetConfig
from sweeper.config.engine import EngineConfig, LocalConfig
from sweeper.config.frozen import Frozen
from sweeper.config.hyperparameters import Metric, TrialConfig
from sweeper.config.nearest_name import meant
from sweeper.config.notify import NotifyConfig
from sweeper.config.plain_name import PlainName
from sweeper.config.pruner import FEWEST_EPOCHS, FEWEST_TRIALS, PrunerConfig, default_pruner
from sweeper.config.sampler import SamplerConfig, TpeConfig
from sweeper.config.space import searchable
from sweeper.config.task import CLASSIFICATION, TaskConfig, reconstructs
from sweeper.config.tracking import TrackingConfig

DEVICE = r"^(auto|cpu|mps|cuda(:\d+)?)$"
"""The names of devices, as a regular expression."""


def is_a_device(value: str) -> str:
    if not re.fullmatch(DEVICE, value):
        raise ValueError(
            f"should be auto, cpu, cuda, cuda:1 or mps, got {value!r}{meant(value, ('cpu', 'cuda', 'mps'))}"
        )
    return value


Compile = Literal[False, True, "auto"]
CudaGraphs = Literal[False, True, "auto"]
Arithmetic = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]


class ObjectiveConfig(Frozen):
    """The number by which trials are compared: its best epoch counts."""

    metric: Metric = Field(
        "val/accuracy",
        description="For a reconstruction val/psnr, unless named. Metrics of train/ are refused: by them the most "
        "overfitted trial would win.",
    )
    direction: Literal["maximize", "minimize"] = Field(
        "maximize", description="Follows from the metric: minimize for a loss. Any other is refused."
    )

    @model_validator(mode="before")
    @classmethod
    def _loss_is_minimized(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {"direction": right_direction(str(value.get("metric", ""))), **value}
        return value

    def better(self, value: float, than: float | None) -> bool:
        """Return whether `value` is strictly better than another value, or there is no other."""
        if than is None:
            return True
        return value > than if self.direction == "maximize" else value < than


COSTS = ("parameters", "latency_ms", "train_seconds")


def right_direction(metric: str) -> Literal["maximize", "minimize"]:
    """Return in which direction a metric or a cost gets better."""
    return "minimize" if metric.endswith("/loss") or metric in COSTS else "maximize"


class GoalConfig(Frozen):
    """One of several objectives: a metric of a trial's best epoch, or a cost."""

    metric: Literal[Metric, "parameters", "latency_ms", "train_seconds"] = Field(
        description="parameters: of the whole network; latency_ms: one image at a time, on the trial's device; "
        "train_seconds: all epochs of the trial. Metrics of train/ are refused."
    )
    direction: Literal["maximize", "minimize"] = Field(
        "maximize", description="Follows from the metric: minimize for a loss or a cost. Any other is refused."
    )

    @model_validator(mode="before")
    @classmethod
    def _costs_are_minimized(cls, value: Any) -> Any:
        given = {"metric": value} if isinstance(value, str) else value
        metric = str(given.get("metric", "")) if isinstance(given, dict) else ""
        return {"direction": right_direction(metric), **given} if isinstance(given, dict) else given


AS_MANY_AS_FIT = 10_000
"""Trials of a budget that names a time and no number of trials."""


class StopWhenConfig(Frozen):
    """End the search when no further trial is likely to be better than the best one by `gain`."""

    gain: Annotated[Real, Field(ge=1e-9, le=100)] = Field(
        description="In units of the objective: 0.005 is half a point of accuracy. Compared with a bound by a Gaussian "
        "process on the parameters that all trials have (Makarova et al., AutoML 2022)."
    )
    trials: Annotated[Trials, Field(ge=20)] = Field(
        20, description="Complete trials that there must be before it may end."
    )


class BudgetConfig(Frozen):
    """How much may be tried."""

    time: Annotated[Seconds | None, BeforeValidator(duration)] = Field(
        None,
        alias="for",
        description="Seconds, or a duration like 2h, after which the best model is there, exported: the time is "
        "divided between the search, training the best trials again and the export. Without `trials` as many as fit.",
    )
    trials: Trials = Field(20, description="Trials in the study, over all runs of the command.")
    epochs: Epochs = Field(10, description="Longest training of one trial.")
    timeout: Annotated[Seconds | None, BeforeValidator(duration)] = Field(
        None, description="Seconds, or a duration like 8h, after which no new trial starts."
    )
    stop_when: StopWhenConfig | None = Field(None, description="End the search early when no better trial is likely.")
    patience: Epochs | None = Field(
        None, description="Stop a trial after this number of epochs without a better objective; without it, never."
    )
    stuck_after: Annotated[Wait | None, BeforeValidator(duration)] = Field(
        None,
        description="Seconds, or a duration like 30m, after which a worker without an epoch is ended and its trial "
        "goes on in a new one; without it such a worker is only reported. It must be longer than any epoch. With "
        "`dataset.folds` and several workers it must also be longer than any fold, because one worker may wait while "
        "another one trains a fold.",
    )
    repeats: bool = Field(
        False,
        description="Train a configuration again where the sampler suggests it again. Otherwise a finite search space "
        "gives the nearest one that has not been tried, and the study ends when all have been.",
    )
    max_consecutive_failures: Trials = Field(
        5, description="Stop the study after this number of failed trials in a row with the same reason."
    )

    @model_validator(mode="before")
    @classmethod
    def _time_and_no_number(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("for") is not None:
            return {"trials": AS_MANY_AS_FIT, **value}
        return value

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if self.time is not None and self.timeout is not None:
            raise ValueError("`for` and `timeout` both limit the time; keep one: `for` has the model ready by then")
        return self

    @property
    def open_ended(self) -> bool:
        """Whether the time alone says how many trials there are."""
        return self.time is not None and self.trials == AS_MANY_AS_FIT


class FeaturesConfig(Frozen):
    """How trials with frozen backbones are trained: from what these give, computed once for all trials."""

    cache: bool = Field(
        True,
        description="With `trainable: head` and pretrained weights, train the head on the backbone's stored output. "
        "Trials with CutMix, progressive_resizing or a teacher need pixels, and go through the backbone.",
    )
    last_stage: bool = Field(
        False,
        description="With `trainable: last_stage` and pretrained weights, train the last stage and the head likewise, "
        "on the stored output of the stages before it. That is larger, some 40 to 800 kB for an image of 224 pixels.",
    )
    views: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        4, description="Augmented views kept of each training image, taken in turn by epoch; one where nothing changes."
    )
    fuse: Annotated[Whole, Field(ge=1, le=1024)] = Field(
        1,
        description="How many trials are suggested together. Those with the same features, batch size, "
        "test_time_augmentation and shape of the head are trained at once; a last stage is always trained alone. With "
        "1, each suggestion uses the results of all earlier trials.",
    )


class BackboneRankingConfig(Frozen):
    """Rank the backbones of `search.backbone` first, by a head on the frozen features of each, and search the best."""

    keep: Trials = Field(3, description="Number of backbones that are searched.")
    epochs: Epochs = Field(20, description="Epochs of each head; the features are computed once.")
    train_images: Images | None = Field(
        5000, description="Training images that rank, the same share of each class, where there are more; null for all."
    )


class SweepConfig(Frozen):
    """A search-space file: what is searched, on which data, by which means and for how long."""

    study: PlainName = Field(description="Name of the study.")
    task: TaskConfig = Field(CLASSIFICATION, description="What the networks learn to do.")
    dataset: DatasetConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    budget: BudgetConfig = BudgetConfig()
    sampler: SamplerConfig = Field(TpeConfig(name="tpe"), description="What suggests the next trial.")
    objectives: tuple[GoalConfig, ...] = Field(
        (),
        description="In place of `objective`: two or more, without weights between them. The first that is not a cost "
        "picks a trial's best epoch. Nothing is pruned unless by `pruner: promote`.",
    )
    features: FeaturesConfig = FeaturesConfig()
    backbone_ranking: BackboneRankingConfig | None = Field(
        None, description="Rank the backbones before they are searched; they need pretrained weights."
    )
    tracking: TrackingConfig = TrackingConfig()
    keep_optimizer: bool = Field(
        False,
        description="Keep the optimizer's state beside the best weights of each trial, for `sweeper train "
        "--with-optimizer`; Adam's takes twice the space of the weights. With `ema` it is "
        "that of the weights before they were averaged.",
    )
    enqueue: dict[PlainName, dict[str, Any]] = Field(
        {},
        description="Configurations to try first, by names of your own, each with keys of `search` and plain values in "
        "the search space; what one leaves out the sampler chooses.",
    )
    notify: NotifyConfig = Field(NotifyConfig(), exclude=True)
    seed: Seed = Field(0, description="Seed of what the sampler suggests, and of all training.")
    engine: EngineConfig = Field(LocalConfig(name="local"), description="Where trials run.")
    device: Annotated[str, AfterValidator(is_a_device)] = Field(
        "auto", description="auto, cpu, cuda, cuda:1, mps.", json_schema_extra={"pattern": DEVICE}
    )
    precision: Precision = Field(
        "auto",
        description="Numbers in which networks compute; weights stay float32. auto: bfloat16 on GPUs with instructions "
        "for it (compute capability 8 and up), float32 elsewhere. bfloat16 on a CPU: training steps are 1.1 to 1.5 "
        "times as fast on processors with instructions for it, which `sweeper doctor` names, and several times as slow "
        "on others.",
    )
    devices_per_trial: Annotated[Whole, Field(ge=1, le=64)] = Field(
        1,
        description="Train each trial on several devices of one machine, or of several nodes of a Ray cluster, by data "
        "parallelism: each batch is split between them. On a CPU, between processes.",
    )
    compile: Compile = Field(
        False,
        description="Train networks by code that torch.compile makes for them, on a GPU with CUDA graphs. auto: the "
        "first long trial of a kind tries compiling; after that a trial compiles only if faster steps save more time "
        "than compiling takes; the decision depends on "
        "measured times, so repeating such a trial may give slightly different digits. What learns on stored features "
        "is not compiled. Compiling needs a C++ compiler.",
    )
    cuda_graphs: CudaGraphs = Field(
        "auto",
        description="On an NVIDIA GPU, record the training step once and repeat it by one launch. auto: networks whose "
        "modules are all of torch, torchvision or timm. true: networks of model files too; their code must not decide "
        "anything from step to step.",
    )
    model_files: tuple[str, ...] = Field(
        (), description="Python files that register architectures; they are code and are run."
    )
    search: searchable(TrialConfig) = Field(description="The hyperparameters, each a value or a distribution.")  # type: ignore[valid-type]
    pruner: PrunerConfig = Field(
        default_factory=default_pruner,
        description="Which trials end early, or pause. If you name no pruner: `promote` for "
        f"{FEWEST_TRIALS} or more different trials of {FEWEST_EPOCHS} or more epochs (exceptions: docs/pruning.md), "
        "otherwise `median`; with several `objectives`, `none`. A study keeps the pruner that it began with.",
    )

    @model_validator(mode="before")
    @classmethod
    def _objective_of_the_task(cls, value: Any) -> Any:
        if isinstance(value, dict) and reconstructs(value.get("task")) and not value.get("objectives"):
            given = value.get("objective", {})
            return {**value, "objective": {"metric": "val/psnr", **given}} if isinstance(given, dict) else value
        return value

    @model_validator(mode="before")
    @classmethod
    def _objectives_fill_in(cls, data: Any) -> Any:
        """Take the objective from several ones."""
        if not isinstance(data, dict) or not isinstance(data.get("objectives"), list | tuple) or not data["objectives"]:
            return data
        named = [{"metric": goal} if isinstance(goal, str) else goal for goal in data["objectives"]]
        first = [goal for goal in named if isinstance(goal, dict) and goal.get("metric") not in COSTS][:1]
        return {**({"objective": first[0]} if first else {}), **data}

    @field_validator("objectives")
    @classmethod
    def _objectives_agree(cls, goals: tuple[GoalConfig, ...], info: ValidationInfo) -> tuple[GoalConfig, ...]:
        if not goals:
            return goals
        metrics = [goal.metric for goal in goals]
        judging = [goal for goal in goals if goal.metric not in COSTS]
        if len(set(metrics)) < 2 or len(set(metrics)) < len(metrics):
            raise ValueError(f"should be two or more different ones, got {', '.join(metrics)}; one is an `objective`")
        if not judging:
            raise ValueError(f"one of them must judge the model, such as val/accuracy, got {', '.join(metrics)}")
        if (budget := info.data.get("budget")) and budget.stop_when is not None:
            raise ValueError("budget.stop_when asks what a better trial could gain in one objective; remove it")
        objective, sampler = (info.data.get(name) for name in ("objective", "sampler"))
        if objective and (objective.metric, objective.direction) != (judging[0].metric, judging[0].direction):
            raise ValueError("replaces `objective`; remove one of the two")
        if sampler and sampler.name == "cmaes":
            raise ValueError("the sampler cmaes knows one objective only; use tpe, nsga2, gp, qmc, random or grid")
        return goals

    @field_validator("pruner")
    @classmethod
    def _pruner_knows_the_objectives(cls, pruner: Any, info: ValidationInfo) -> Any:
        if info.data.get("objectives") and pruner.name not in ("none", "promote"):
            raise ValueError(
                f"compares trials by one number; use promote, which compares them by several, in place of "
                f"{pruner.name}, or name one `objective`"
            )
        return pruner

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the content alone: each process makes the classes of a search space anew, at run time."""
        return _reduced, (self.model_dump(mode="json", by_alias=True), self.notify)

    @property
    def goals(self) -> tuple[GoalConfig, ...]:
        """All objectives; mostly there is one."""
        one = GoalConfig(metric=self.objective.metric, direction=self.objective.direction)
        return self.objectives or (one,)

    @property
    def reported(self) -> Literal["epoch", "fold"]:
        """What a trial reports its objective after, and may be pruned after."""
        return "fold" if self.dataset.folds else "epoch"

    @property
    def reports(self) -> int:
        """How often a trial reports at most."""
        return self.dataset.folds or self.budget.epochs

    @field_validator("enqueue")
    @classmethod
    def _queue_is_not_for_a_grid(
        cls, queue: dict[str, dict[str, Any]], info: ValidationInfo
    ) -> dict[str, dict[str, Any]]:
        sampler = info.data.get("sampler")
        if queue and sampler and sampler.name == "grid":
            raise ValueError("the sampler grid tries every combination anyway; remove `enqueue` or take another")
        return queue

    def written(self) -> dict[str, Any]:
        """Return the keys that somebody has written, without those that followed from them."""
        content = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        budget = content.get("budget", {})
        if budget.get("for") is not None and budget.get("trials") == AS_MANY_AS_FIT:
            del budget["trials"]
        if content.get("objectives"):
            content.pop("objective", None)
        for goal in (content.get("objective", {}), *content.get("objectives", ())):
            if goal.get("direction") == right_direction(goal.get("metric", "")):
                del goal["direction"]
        return content

    def fingerprint(self) -> dict[str, Any]:
        """Return what must not change while a study is continued. Its images may be moved: they are compared."""
        kept = {"search", "dataset", "objective", "objectives", "sampler", "pruner", "features", "seed", "model_files"}
        fixed = self.model_dump(mode="json", by_alias=True, include=kept)
        del fixed["dataset"]["path"], fixed["dataset"]["csv"]["images"]
        fixed["task"] = self.task.name
        fixed["epochs"] = self.budget.epochs
        fixed["patience"] = self.budget.patience
        if self.precision != "auto":  # studies from before this setting have no such key
            fixed["precision"] = self.precision
        return fixed


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a search space, for completion and checks in an editor."""
    schema = SweepConfig.model_json_schema(by_alias=True)
    schema["title"] = "sweeper search space"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _reduced(content: dict[str, Any], notify: NotifyConfig) -> SweepConfig:
    """Return a search space that was pickled."""
    return SweepConfig.model_validate(content).model_copy(update={"notify": notify})
