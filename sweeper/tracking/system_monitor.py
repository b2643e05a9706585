"""MLflow's own measurements of the machine."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


class SystemMonitor:
    """MLflow's own system metrics, sampled by us and sent with the rest."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        try:
            from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

            self._monitors.append(GPUMonitor())
        except Exception:
            # Whatever pynvml raises on a machine without an NVIDIA driver: there is nothing to sample.
            logger.debug("no GPU to monitor", exc_info=True)

    def sample(self) -> dict[str, float]:
        """Return the machine's load now, under the names that MLflow's page knows."""
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values.update({f"system/{key}": float(value) for key, value in monitor.aggregate_metrics().items()})
            monitor.clear_metrics()
        return values
