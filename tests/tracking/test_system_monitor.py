"""MLflow's system metrics on machines that do not tell all of their load."""

from __future__ import annotations

import pytest

from sweeper.tracking.system_monitor import SystemMonitor


def test_the_load_has_the_names_of_mlflows_page() -> None:
    values = SystemMonitor().sample()
    assert {"system/cpu_utilization_percentage", "system/disk_usage_percentage"} <= values.keys()
    assert 0 <= values["system/cpu_utilization_percentage"] <= 100


def test_what_a_machine_does_not_tell_is_left_out_and_the_rest_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.net_io_counters", lambda: None)  # as psutil answers in a container without network
    monitor = SystemMonitor()
    assert not any(name.startswith("system/network") for name in monitor.sample())

    def hidden(path: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr("psutil.disk_usage", hidden)
    for _ in range(2):
        values = monitor.sample()
        assert "system/cpu_utilization_percentage" in values
        assert not any(name.startswith("system/disk") for name in values)
