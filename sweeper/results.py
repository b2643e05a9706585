"""What passes between the driver and its workers, and what both leave on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from statistics import stdev
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, computed_field

from sweeper.config.frozen import Frozen
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.task import CLASSIFICATION, TaskConfig
from sweeper.credentials import hide_credentials
from sweeper.files import read_parsed, write_sealed


class TrialStart(Frozen):
    """What a trial goes on from that continues another one: files of that one, and how many epochs it had."""

    epochs: int
    weights: str
    optimizer: str | None = None
    unfreezing_after: int = 0
    """The epoch after which `unfreezing` counts its own, from 1: the last of that one where it was set anew."""
    resizing: bool = False
    """Whether training images grow again, since `progressive_resizing` was set anew."""


class Repeats(Frozen):
    """Which trial of a study is trained again, and with which of its fresh seeds, from 1."""

    trial: int
    seed_number: int


class Teacher(Frozen):
    """A trained classifier that a trial learns from: the file of its weights, and the networks that these are of."""

    weights: str
    digest: str
    networks: tuple[TrialConfig, ...]
    """One, or each member of an ensemble."""
    classes: int


class TrialSpec(Frozen):
    """One trial as its worker gets it."""

    number: int
    seed: int
    epochs: int
    pause_after: int | None = None
    """The epoch after which it pauses, to go on later or never."""
    config: TrialConfig
    task: TaskConfig = CLASSIFICATION
    weights: str | None = None
    """The file that holds what `config.pretrained` refers to, where that is a trial of another study."""
    teacher: Teacher | None = None
    """What `config.teacher` names."""
    memory_kills: int = 0
    """How often its worker was killed for memory: each time it goes on with a quarter of the micro-batch size."""
    start: TrialStart | None = None
    keep_optimizer: bool = False
    repeats: Repeats | None = None
    """Set where it is not a trial of the search but one of them trained again; `number` then counts repetitions."""

    @property
    def label(self) -> str:
        """What it is called where it is recorded."""
        again = self.repeats
        return f"trial {self.number}" if again is None else f"trial {again.trial} again, seed {again.seed_number}"

    @property
    def epochs_before(self) -> int:
        """Epochs of the trial that this one goes on from; its own are numbered from there, up to `epochs`."""
        return self.start.epochs if self.start else 0

    @property
    def unfreezing_after(self) -> int:
        """The epoch after which `config.unfreezing` counts its own, from 1."""
        return self.start.unfreezing_after if self.start else 0

    @property
    def first_size(self) -> float:
        """The side of its first training images as a part of image_size: whole ones after a trial that had grown."""
        return self.config.progressive_resizing if self.start is None or self.start.resizing else 1.0

    @property
    def until(self) -> int:
        """The last epoch for now."""
        return self.epochs if self.pause_after is None else min(self.epochs, self.pause_after)

    def with_weights(self) -> TrialSpec:
        """Return the same trial with the file in place of the reference."""
        if self.weights is None:
            return self
        return self.model_copy(update={"config": self.config.model_copy(update={"pretrained": self.weights})})


class Cut(Frozen):
    """Why the driver ends a trial before its last epoch: for want of time, or because it was asked to."""

    why: str
    complete: bool = False
    """It counts as complete all the same."""
    again: bool = False
    """Its configuration is trained once more."""


class PinnedWeights(Frozen):
    """What a value of `pretrained` stood for when a study began: of a reference, which trial, and what it held."""

    digest: str
    study: str | None = None
    trial: int | None = None
    run_id: str | None = None

    @property
    def origin(self) -> str:
        return "" if self.study is None else f" = {self._recorded}"

    @property
    def _recorded(self) -> str:
        return f"trial {self.trial} (MLflow run {self.run_id or 'not delivered yet'})"


class PinnedTeacher(PinnedWeights):
    """What a teacher's name stood for when a study began: its networks, and its classes in their order."""

    networks: tuple[TrialConfig, ...]
    classes: tuple[str, ...]
    members: tuple[PinnedWeights, ...] = ()
    """The trials of a study's ensemble, the winner first; it is itself no trial."""
    seen: str | None = None
    """The digest of the images that an export has seen all of, where it comes of a cross-validated study."""

    @property
    def origin(self) -> str:
        return f" = {' and '.join(member._recorded for member in self.members)}" if self.members else super().origin


class EpochMetrics(Frozen):
    """The metrics of one finished epoch, counted from 1."""

    model_config = ConfigDict(allow_inf_nan=True)

    epoch: int
    values: dict[str, float]
    timestamp_ms: int
    at_once: int = 1
    """How many trials its worker has trained at once: their times are each one's share of the whole."""


SIMULATED = "simulated"
"""The device of trials that have followed a learning curve, and the digest of their images: nothing was trained."""

HISTORY = TypeAdapter(list[EpochMetrics])


def write_history(file: Path, epochs: Sequence[EpochMetrics]) -> None:
    """Write the metrics of all epochs, for those who record or show them."""
    write_sealed(file, json.dumps([metrics.model_dump() for metrics in epochs]))


def read_history(file: Path) -> list[EpochMetrics]:
    """Return the metrics of all epochs that a history holds, none where there is no file. Raises DamagedFile."""
    return read_parsed(file, HISTORY.validate_json) if file.exists() else []


class TrialState(StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self not in (TrialState.WAITING, TrialState.RUNNING, TrialState.PAUSED)


class FoldScore(Frozen):
    """What one fold of a cross-validated trial came to: the objective in its best epoch."""

    value: float
    best_epoch: int
    epochs: int
    seconds: float


class Refit(Frozen):
    """The training on all folds by which a cross-validated trial ends, and whose weights it leaves.

    Its `metrics` are those of the first fold after its last epoch. They tell nothing of new images, since it has seen
    these; by them its weights are recognised.
    """

    epochs: int
    metrics: dict[str, float]


class EpochSoup(Frozen):
    """What came of averaging the weights of a trial's best epochs."""

    epochs: tuple[int, ...]
    """Whose weights are averaged, the best one first; that one alone where no average was as good."""
    best_epoch_value: float
    """The objective in the best epoch alone."""


class TrialOutcome(Frozen):
    """How a trial ended, or stands where it is paused, and on what it was trained.

    Of a cross-validated one `epochs` and `best_epoch` count folds, and the best value and metrics are means over its
    `folds`. A failed trial has no score, nor has one that is not feasible: pruned since it does not fit in memory.
    """

    state: TrialState
    feasible: bool = True
    cut: bool = False
    """A request or a deadline ended it, and no pruner."""
    epochs: int = 0
    epochs_before: int = 0
    """How many of them it has not trained: those of the trial that it goes on from."""
    best_epoch: int | None = None
    best_value: float | None = None
    best_metrics: dict[str, float] = Field({})
    reason: Annotated[str, AfterValidator(hide_credentials)] | None = None
    seconds: float = 0.0
    timestamp_ms: int = 0
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    on_features: bool = False
    """What learns was trained and validated on what the frozen stages of the backbone had made of the images."""
    compiled: bool = False
    """Its last epoch was trained by compiled code, which rounds differently."""
    costs: dict[str, float] = Field({})
    """`parameters` and, where it is an objective, `latency_ms`."""
    threads: int | None = None
    """Threads that a CPU trained it with: other numbers of them may round differently."""
    folds: tuple[FoldScore, ...] = ()
    refit: Refit | None = None
    """Where it is cross-validated and complete."""
    soup: EpochSoup | None = None
    """Where weights of its best epochs were to be averaged. The best value and the `val/` metrics are the average's."""

    @property
    def averaged_epochs(self) -> tuple[int, ...]:
        """The epochs whose weights it has left the average of, the best one first."""
        return self.soup.epochs if self.soup and len(self.soup.epochs) > 1 else ()

    @property
    def has_weights(self) -> bool:
        """Whether it has left weights: those of its best epoch, or of a training on all folds."""
        return self.best_epoch is not None and (not self.folds or self.refit is not None)

    @property
    def reached_in(self) -> str:
        """Say where its best value comes from: an epoch, the average of some, or how many folds how far apart."""
        if self.averaged_epochs:
            return f"in {average_of(self.averaged_epochs)}"
        if not self.folds:
            return f"in epoch {self.best_epoch}"
        return f"{'' if self.spread is None else f'± {self.spread:.4f} '}over {len(self.folds)} folds"

    @property
    def spread(self) -> float | None:
        """The standard deviation of the folds' values, with one degree of freedom less; None of fewer than two."""
        return stdev(fold.value for fold in self.folds) if len(self.folds) > 1 else None

    def value_of(self, metric: str) -> float | None:
        """Return a metric of the best epoch, or of the average of some, or a cost."""
        if metric == "train_seconds":
            return self.seconds
        return self.best_metrics.get(metric, self.costs.get(metric))


def average_of(epochs: Sequence[int]) -> str:
    """Name the average of some epochs."""
    return f"the average of epochs {', '.join(map(str, sorted(epochs)))}"


def does_not_fit(why: str) -> str:
    """Return the reason of a trial that is not feasible."""
    return f"does not fit in memory: {why}"


def read_spec(file: Path) -> TrialSpec:
    """Return what a trial was to be. Raises DamagedFile."""
    return read_parsed(file, TrialSpec.model_validate_json)


def read_outcome(file: Path) -> TrialOutcome:
    """Return how a trial ended. Raises DamagedFile."""
    return read_parsed(file, TrialOutcome.model_validate_json)


class TrialRow(Frozen):
    """One trial as the ranked table shows it; without an outcome as long as it is unfinished."""

    number: int
    state: TrialState
    value: float | None
    best_epoch: int | None
    epochs: int
    seconds: float | None
    ended_ms: int | None
    params: dict[str, Any]
    config_json: str | None = Field(exclude=True)
    """The configuration as text, a tenth of what the model takes: a driver keeps the rows of all its trials."""
    reason: str | None
    outcome: TrialOutcome | None = None
    outside: str | None = None
    """Why the search space, edited since, no longer holds it: history, and without a rank."""

    @property
    def averaged_epochs(self) -> tuple[int, ...]:
        """The epochs whose weights it has left the average of; none where it has left those of its best epoch."""
        return self.outcome.averaged_epochs if self.outcome else ()

    @property
    def reached_in(self) -> str:
        """Say where its value comes from, as its outcome does."""
        return self.outcome.reached_in if self.outcome else f"in epoch {self.best_epoch}"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def config(self) -> TrialConfig | None:
        return TrialConfig.model_validate_json(self.config_json) if self.config_json else None
