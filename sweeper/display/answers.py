"""What commands answer with `--json`: for scripts, of a form that does not change without its number changing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sweeper.config.frozen import Frozen
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialRow, TrialState
from sweeper.scores.expected_accuracy import ExpectedAccuracy

if TYPE_CHECKING:
    from sweeper.planning.plan import Plan

FORMAT = 1

StudyState = Literal["running", "unfinished", "finished"]


class TrialAnswer(Frozen):
    """One trial."""

    number: int
    state: TrialState
    value: float | None = Field(
        description="The objective in the best epoch, of the average of some, or its mean over the folds; null where "
        "there is none."
    )
    best_epoch: int | None = Field(description="Counted from 1; with cross-validation the last fold.")
    averaged_epochs: list[int] = Field(description="Whose weights are averaged in its model; empty without an average.")
    epochs: int = Field(description="Epochs that were trained, or folds.")
    folds: list[float] = Field(description="The objective of each fold; empty without cross-validation.")
    seconds: float | None
    ended_ms: int | None = Field(description="When it ended, in milliseconds since 1970.")
    parameters: dict[str, Any] = Field(description="What was searched, by its key below `search`.")
    metrics: dict[str, float] = Field(description="Of the best epoch; with an average, `val/` ones are of it.")
    reason: str | None = Field(description="Why it was pruned or failed.")

    @classmethod
    def of(cls, row: TrialRow) -> TrialAnswer:
        return cls(
            number=row.number,
            state=row.state,
            value=row.value,
            best_epoch=row.best_epoch,
            averaged_epochs=list(row.averaged_epochs),
            epochs=row.epochs,
            folds=[fold.value for fold in row.outcome.folds] if row.outcome else [],
            seconds=row.seconds,
            ended_ms=row.ended_ms,
            parameters=row.params,
            metrics=row.outcome.best_metrics if row.outcome else {},
            reason=row.reason,
        )


class StudyAnswer(Frozen):
    """One study, as `sweeper list` has it."""

    study: str
    state: StudyState = Field(description="running: by a driver of this folder; unfinished: trials and time are left.")
    objective: str
    direction: Literal["maximize", "minimize"]
    ended: int = Field(description="Trials that have ended.")
    budget: int = Field(description="Trials that the study will have.")
    best: TrialAnswer | None
    paused: bool = Field(False, description="Its trials wait until `sweeper resume`; only while it is running.")

    @classmethod
    def of(
        cls,
        state: StudyState,
        sweep: SweepConfig,
        ended: int,
        budget: int,
        best: TrialRow | None,
        *,
        paused: bool = False,
    ) -> StudyAnswer:
        return cls(
            study=sweep.study,
            state=state,
            paused=paused,
            objective=sweep.objective.metric,
            direction=sweep.objective.direction,
            ended=ended,
            budget=budget,
            best=TrialAnswer.of(best) if best else None,
        )


class StudiesAnswer(Frozen):
    """`sweeper list --json`."""

    format: int = FORMAT
    studies: tuple[StudyAnswer, ...]


class StatusAnswer(Frozen):
    """`sweeper status --json`."""

    format: int = FORMAT
    study: str
    ended: int
    budget: int
    trials: tuple[TrialAnswer, ...]


class NetworkAnswer(Frozen):
    """A network, as a plan has measured it in training."""

    backbone: str
    image_size: int
    batch_size: int
    trainable: str
    parameters: int
    peak_mb: float = Field(description="In MiB, of the GPU; on a CPU of the whole process.")
    images_per_s: float = Field(description="In training; with views, the rate at which features are computed.")
    views: int = Field(description="Of each image, whose features are stored; 0 where trials do not learn from those.")
    at_once: int = Field(description="Images that go through it at once; below batch_size where memory demands it.")
    learned_per_s: float | None = Field(
        None, description="In training on stored features; null where a head alone learns from them, or nothing does."
    )


class FailureAnswer(Frozen):
    """A part of a search space that cannot work."""

    where: str
    why: str


class CostsAnswer(Frozen):
    """What a study would cost; times in seconds, disk in bytes."""

    epoch_s: float = Field(description="Of one trial; 0 where a head alone learns from stored features.")
    features_s: float = Field(description="Of computing the features of frozen backbones, once.")
    trials: int
    whole_s: float = Field(description="Were every trial trained to its last epoch.")
    pruned_s: float | None = Field(description="Where trials end early; null without a pruner.")
    limit_s: float | None = Field(description="After which the budget ends the search.")
    images_bytes: int
    features_bytes: int
    weights_bytes: int
    checkpoint_bytes: int
    free_bytes: int
    watts: float | None = Field(None, description="Of all that `powered` names; null where nothing tells its power.")
    powered: str = Field("", description="`GPUs`, `processors`, or both.")
    whole_kwh: float | None = Field(None, description="Energy in `whole_s`.")
    pruned_kwh: float | None = Field(None, description="Energy in `pruned_s`.")
    limit_kwh: float | None = Field(None, description="Energy in `limit_s`.")


class PlanAnswer(Frozen):
    """`sweeper plan --json`."""

    format: int = FORMAT
    study: str
    device: str
    workers: int
    branches: int = Field(description="Ways through the search space that were tried; together they take every option.")
    failures: tuple[FailureAnswer, ...]
    networks: tuple[NetworkAnswer, ...]
    costs: CostsAnswer | None = Field(description="Null where no network could be trained.")
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, plan: Plan) -> PlanAnswer:
        return cls(
            study=plan.study,
            device=plan.device,
            workers=plan.workers,
            branches=plan.branches,
            failures=tuple(FailureAnswer(where=one.where, why=one.why) for one in plan.failures),
            networks=tuple(NetworkAnswer.model_validate(_fields(NetworkAnswer, one)) for one in plan.measured),
            costs=CostsAnswer.model_validate(_fields(CostsAnswer, plan.costs)) if plan.costs else None,
            warnings=plan.opening.warnings,
        )


def _fields(answer: type[Frozen], found: object) -> dict[str, Any]:
    """Return what an answer has of an object with attributes of the same names."""
    return {name: getattr(found, name) for name in answer.model_fields}


class BestAnswer(Frozen):
    """`sweeper best --json`."""

    format: int = FORMAT
    study: str
    objective: str
    direction: Literal["maximize", "minimize"]
    winner: bool = Field(
        description="Whether this is the best trial of its study; of several objectives any that --prefer takes is."
    )
    export: str | None = Field(description="The folder of the export, where one was asked for.")
    expected: ExpectedAccuracy | None = Field(
        None, description="Null where it is not the best trial, or where that cannot be known."
    )
    trial: TrialAnswer
    config: dict[str, Any] = Field(description="The whole configuration, as the `search` section of a search space.")
