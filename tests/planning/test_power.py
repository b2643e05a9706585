"""Power by the counters of the kernel and of NVIDIA's driver, in files and functions as these have them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sweeper.planning.power import Power, PowerMeter

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that a meter sees, to be set."""
    now = [100.0]
    monkeypatch.setattr("sweeper.planning.power.time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def domain(powercap: Path, name: str, microjoules: int, called: str = "package-0") -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text("1000000000\n")
    (folder / "name").write_text(f"{called}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_the_energy_of_all_processors_over_the_time_also_where_a_counter_begins_anew(
    tmp_path: Path, clock: list[float]
) -> None:
    first, second = domain(tmp_path, "intel-rapl:0", 5_000_000), domain(tmp_path, "intel-rapl:1", 999_999_999)
    others = [
        domain(tmp_path, "intel-rapl:0:0", 0, "core"),  # a part of the first
        domain(tmp_path, "intel-rapl:2", 0, "psys"),  # the whole board, with the processors
    ]
    meter = PowerMeter(CPU, tmp_path)
    first.write_text("65000000\n")
    second.write_text("19999998\n")
    for other in others:
        other.write_text("40000000\n")
    clock[0] += 2
    assert meter.read() == Power(processors=40.0, gpu=None)


def test_nothing_is_told_where_a_counter_is_missing_or_not_to_be_read(tmp_path: Path, clock: list[float]) -> None:
    assert PowerMeter(CPU, tmp_path / "none").read() == Power()
    domain(tmp_path, "intel-rapl:0", 5)
    hidden = domain(tmp_path, "intel-rapl:1", 5)
    hidden.unlink()
    meter = PowerMeter(CPU, tmp_path)
    clock[0] += 1
    assert meter.read() == Power()


def test_the_energy_of_the_gpu_that_trains_is_asked_of_its_driver(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    pynvml = pytest.importorskip("pynvml", reason="NVIDIA's library is not for this system")
    millijoules = {"GPU-the-second": 7_000.0}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="the-second"))
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: uuid)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda handle: millijoules[handle])
    meter = PowerMeter(torch.device("cuda:1"), tmp_path)
    millijoules["GPU-the-second"] += 600_000
    clock[0] += 2
    assert meter.read() == Power(gpu=300.0)
    millijoules.clear()  # the driver no longer knows it
    assert meter.read() == Power()
