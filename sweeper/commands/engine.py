"""Starting the engine that a search space asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.commands.options import worker_count

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.engines.protocol import Engine
    from sweeper.paths import StudyFolder, Workspace


def start_engine(
    sweep: SweepConfig, workspace: Workspace, workers: str | None, folder: StudyFolder | None = None
) -> Engine:
    """Start workers where the search space says. Raises StudyError where a cluster cannot be reached."""
    from sweeper.config.engine import RayConfig

    count = worker_count(workers)
    if isinstance(sweep.engine, RayConfig):
        from sweeper.engines.cluster.engine import RayEngine

        return RayEngine(sweep, workspace, sweep.engine, count if isinstance(count, int) else None, folder=folder)
    from sweeper.engines.local import LocalEngine

    return LocalEngine(sweep, workspace, count, folder=folder)
