"""Runs studies by what a command or a program was told: in which folder, with which records, on how many workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeper.config.sweep import SweepConfig
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.engines.starting import start_engine
from sweeper.paths import Workspace
from sweeper.study.before_ranking import require_possible
from sweeper.study.observer import Observer
from sweeper.study.result import SweepResult
from sweeper.study.run import run_sweep


@dataclass(frozen=True)
class Runner:
    """Runs one study or several, one after the other. `tracking_uri`, `workers` and `clock` as of `run_sweep`."""

    workspace: Workspace
    storage_url: str
    tracking_uri: str | None
    workers: str | None
    clock: VirtualClock | None

    def require_possible(self, sweep: SweepConfig) -> None:
        """Raise what refuses a study that has not begun, before its backbones are ranked."""
        require_possible(sweep, self.workspace, self.storage_url, self.tracking_uri)

    def run(self, sweep: SweepConfig, observer: Observer, **more: Any) -> SweepResult:
        """Run a study up to its budget; `more` are further arguments of `run_sweep`, and errors are its."""
        return run_sweep(
            sweep,
            workspace=self.workspace,
            storage_url=self.storage_url,
            tracking_uri=self.tracking_uri,
            engine=lambda: start_engine(sweep, self.workspace, self.workers, clock=self.clock),
            observer=observer,
            workers=self.workers,
            clock=self.clock,
            **more,
        )
