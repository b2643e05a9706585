"""What a run of MLflow says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class RunSummary:
    """One run with the last value of each metric, and the address of its artifacts."""

    id: str
    name: str
    status: str
    tags: dict[str, str]
    metrics: dict[str, float]
    artifacts: str


@dataclass(frozen=True)
class LoggedRun:
    """What a run says of itself."""

    name: str
    experiment: str
    start_ms: int
    parent: str | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: tuple[str, ...]


def summary(run: Run) -> RunSummary:
    info, data = run.info, run.data
    return RunSummary(
        str(info.run_id),
        str(info.run_name),
        str(info.status),
        dict(data.tags),
        dict(data.metrics),
        str(info.artifact_uri),
    )
