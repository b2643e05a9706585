"""MLflow's system metrics: where a machine does not tell all of its load, and in which runs they are recorded."""

from __future__ import annotations

import time

import mlflow
import pytest

from sweeper.paths import StudyFolder, Workspace
from sweeper.tracking.delivery import StudyCard
from sweeper.tracking.outbox import DeliveryPhase, Outbox
from sweeper.tracking.system_monitor import SystemMonitor
from tests.tracking.test_delivery import card, client, folder, runs, write_trial

__all__ = ["card", "client", "folder"]  # fixtures


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


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_load_of_this_machine_is_not_that_of_trials_on_others(
    workspace: Workspace,
    folder: StudyFolder,
    card: StudyCard,
    client: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: bool,
) -> None:
    monkeypatch.setattr("sweeper.tracking.outbox.SYSTEM_INTERVAL_S", 0.1)
    outbox = Outbox(workspace, folder, card, elsewhere=elsewhere)
    write_trial(folder.trial(0), 1)
    outbox.notify(0, DeliveryPhase.RUNNING)
    outbox.start()
    load, deadline = "system/cpu_utilization_percentage", time.monotonic() + 60
    samples: list[int] = []
    while len(samples) < 2 or samples[-1] < samples[0] + 2:  # so many of both runs, if of both
        assert time.monotonic() < deadline
        time.sleep(0.1)
        if len(outbox._running) == 2:
            samples.append(len(client.get_metric_history(runs(client)["s"].info.run_id, load)))
    outbox.close(60)
    assert (load in runs(client)["trial-0000"].data.metrics) is not elsewhere
