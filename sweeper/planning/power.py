"""The power that training draws, by the counters of the processor and the GPU, where they can be read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
"""Where Linux counts the energy of each processor (RAPL, Intel's and AMD's); most systems let only root read it."""


@dataclass(frozen=True)
class Power:
    """Watts of all processors together and of one GPU; None of what cannot be read."""

    processors: float | None = None
    gpu: float | None = None


class PowerMeter:
    """Counts energy from now on.

    Args:
        device: What trains; of other GPUs nothing is read.
        powercap: The folder of the kernel's counters.
    """

    def __init__(self, device: torch.device, powercap: Path = POWERCAP):
        self._device = device
        counters = map(_Package, sorted(powercap.glob("intel-rapl:*")))
        self._packages = [counter for counter in counters if counter.whole]
        self._started = time.perf_counter()
        self._gpu_before = _gpu_joules(device)

    @property
    def works(self) -> bool:
        """Whether anything can be read."""
        return self._gpu_before is not None or any(package.joules() is not None for package in self._packages)

    def read(self) -> Power:
        """Return the mean power since the meter was made."""
        seconds = time.perf_counter() - self._started
        spent = [package.joules() for package in self._packages]
        known = [joules for joules in spent if joules is not None]
        gpu = _gpu_joules(self._device)
        return Power(
            sum(known) / seconds if known and len(known) == len(spent) else None,
            (gpu - self._gpu_before) / seconds if gpu is not None and self._gpu_before is not None else None,
        )


class _Package:
    """One processor's counter, which begins anew after its largest value; others count a part or the whole board."""

    def __init__(self, path: Path):
        self._path = path
        self._before = self._read("energy_uj")

    @property
    def whole(self) -> bool:
        try:
            return (self._path / "name").read_text().startswith("package")
        except OSError:
            return False

    def _read(self, name: str) -> int | None:
        try:
            return int((self._path / name).read_text())
        except (OSError, ValueError):
            return None

    def joules(self) -> float | None:
        """Return what it has counted."""
        now, largest = self._read("energy_uj"), self._read("max_energy_range_uj")
        if now is None or self._before is None or largest is None:
            return None
        return ((now - self._before) % (largest + 1)) / 1e6


def _gpu_joules(device: torch.device) -> float | None:
    """Return the energy of a GPU since its driver was loaded; NVIDIA's since Volta count it."""
    if device.type != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except Exception:  # the library is missing, its error classes are made at run time, or torch knows no UUID
        return None
