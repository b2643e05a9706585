"""How a run of the command ended."""

from __future__ import annotations

from dataclasses import dataclass

from sweeper.errors import TrackingRefused
from sweeper.results import TrialRow
from sweeper.safeguards.quantity import quantity

ASKED_TO_STOP = "`sweeper stop` asked for it"
"""Why a search has ended that somebody asked to stop."""


@dataclass(frozen=True)
class SweepResult:
    """How a run of the command ended."""

    rows: list[TrialRow]
    interrupted: bool
    stopped_because: str | None
    undelivered: int
    experiment: str | None  # its id in MLflow, unless that could never be reached
    refused: str | None = None  # why MLflow does not take what is undelivered, where that stays so
    trouble: str | None = None  # why it could not be delivered, where it is known
    told_to_leave: bool = False  # interrupted by SIGTERM

    def require_taken(self, study: str) -> None:
        """Raise TrackingRefused where MLflow will not take what is undelivered."""
        if self.undelivered and self.refused:
            of_runs = quantity(self.undelivered, "run is not in MLflow and stays", "runs are not in MLflow and stay")
            raise TrackingRefused(
                f"{of_runs} on disk until this is changed: {self.refused}\nthen: sweeper sync {study}"
            )
