"""Starting the engine that a search space asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.engines.protocol import Engine
    from sweeper.engines.simulated.clock import VirtualClock
    from sweeper.paths import StudyFolder, Workspace


def worker_count(option: str | None) -> int | Literal["auto"] | None:
    """Return how many workers an engine has: None stands for one worker on each device."""
    if option is None:
        return None
    return "auto" if option == "auto" else int(option)


def start_engine(
    sweep: SweepConfig,
    workspace: Workspace,
    workers: str | None,
    folder: StudyFolder | None = None,
    clock: VirtualClock | None = None,
) -> Engine:
    """Start workers where the search space says; `clock` is the time of simulated ones.

    Raises StudyError where a cluster cannot be reached, ConfigError for recorded curves that cannot be read.
    """
    from sweeper.config.engine import RayConfig

    count = worker_count(workers)
    if isinstance(sweep.engine, RayConfig):
        from sweeper.engines.cluster.engine import RayEngine

        return RayEngine(sweep, workspace, sweep.engine, count if isinstance(count, int) else None, folder=folder)
    if clock is not None:
        from sweeper.engines.simulated.engine import simulated_engine

        return simulated_engine(sweep, folder or workspace.study(sweep.study), count, clock)
    from sweeper.engines.local import LocalEngine

    return LocalEngine(sweep, workspace, count, folder=folder)


def clock_of(sweep: SweepConfig) -> VirtualClock | None:
    """Return the time in which a study's trials run, where that is not the machine's."""
    from sweeper.config.engine import SimulateConfig
    from sweeper.engines.simulated.clock import VirtualClock

    return VirtualClock() if isinstance(sweep.engine, SimulateConfig) else None
