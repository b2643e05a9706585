"""What commands answer with `--json`: for scripts, of a form that does not change without its number changing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sweeper.config.hyperparameters import Frozen
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialRow, TrialState
from sweeper.scores.expected_accuracy import ExpectedAccuracy

FORMAT = 1

StudyState = Literal["running", "unfinished", "finished"]


class TrialAnswer(Frozen):
    """One trial."""

    number: int
    state: TrialState
    value: float | None = Field(description="The objective in the best epoch; null where there is none.")
    best_epoch: int | None = Field(description="Counted from 1.")
    epochs: int = Field(description="Epochs that were trained.")
    seconds: float | None
    ended_ms: int | None = Field(description="When it ended, in milliseconds since 1970.")
    parameters: dict[str, Any] = Field(description="What was searched, by its key below `search`.")
    metrics: dict[str, float] = Field(description="Of the best epoch.")
    reason: str | None = Field(description="Why it was pruned or failed.")

    @classmethod
    def of(cls, row: TrialRow) -> TrialAnswer:
        return cls(
            number=row.number,
            state=row.state,
            value=row.value,
            best_epoch=row.best_epoch,
            epochs=row.epochs,
            seconds=row.seconds,
            ended_ms=row.ended_ms,
            parameters=row.params,
            metrics=row.outcome.best_metrics if row.outcome else {},
            reason=row.reason,
        )


class StudyAnswer(Frozen):
    """One study, as `sweeper list` has it."""

    study: str
    state: StudyState = Field(description="running: by a driver of this folder; unfinished: trials are left to run.")
    objective: str
    direction: Literal["maximize", "minimize"]
    ended: int = Field(description="Trials that have ended.")
    budget: int = Field(description="Trials that the study will have.")
    best: TrialAnswer | None

    @classmethod
    def of(cls, state: StudyState, sweep: SweepConfig, ended: int, budget: int, best: TrialRow | None) -> StudyAnswer:
        return cls(
            study=sweep.study,
            state=state,
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


class BestAnswer(Frozen):
    """`sweeper best --json`."""

    format: int = FORMAT
    study: str
    objective: str
    direction: Literal["maximize", "minimize"]
    winner: bool = Field(description="Whether this is the best trial of its study; false for one that was named.")
    export: str | None = Field(description="The folder of the export, where one was asked for.")
    expected: ExpectedAccuracy | None = Field(
        None, description="Null where it is not the best trial, or where that cannot be known."
    )
    trial: TrialAnswer
    config: dict[str, Any] = Field(description="The whole configuration, as the `search` section of a search space.")
