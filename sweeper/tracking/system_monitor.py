"""MLflow's own measurements of the machine."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

logger = logging.getLogger(__name__)

MOST_FAILURES = 5
"""After so many samples in a row that fail a part of the load is given up."""


class SystemMonitor:
    """MLflow's own system metrics, sampled by us and sent with the rest.

    What a machine does not tell (no NVIDIA driver, no network in a container) is left out.
    """

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        # It warns at every sample of a GPU that does not tell its use, as those that are divided into several.
        logging.getLogger(GPUMonitor.__module__).setLevel(logging.ERROR)
        made = map(_unless_it_fails, (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor))
        self._monitors: list[Any] = [monitor for monitor in made if monitor is not None]
        self._failures: Counter[Any] = Counter()  # in a row

    def sample(self) -> dict[str, float]:
        """Return the machine's load now, under the names that MLflow's page knows."""
        values: dict[str, float] = {}
        for monitor in list(self._monitors):
            loads = _unless_it_fails(partial(_loads, monitor))
            values |= loads or {}
            failures = self._failures[monitor] = 0 if loads is not None else self._failures[monitor] + 1
            if failures == MOST_FAILURES:
                self._monitors.remove(monitor)
        return values


def _loads(monitor: Any) -> dict[str, float]:
    monitor.collect_metrics()
    loads = {f"system/{key}": float(value) for key, value in monitor.aggregate_metrics().items()}
    monitor.clear_metrics()
    return loads


def _unless_it_fails(measure: Callable[[], Any]) -> Any:
    """Return what is measured, or None: psutil and pynvml raise all kinds of errors where a system hides something."""
    try:
        return measure()
    except Exception:
        logger.debug("this machine does not tell a part of its load", exc_info=True)
        return None
