"""NVIDIA cards as their driver and the kernel report them, whatever torch makes of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"


@dataclass(frozen=True)
class NvidiaCards:
    """The names of the cards that the driver answers for, and the latest CUDA that it can run, as 13000 for 13.0.

    Cards without a driver that answers have no names, and a `cuda` of None.
    """

    count: int
    names: tuple[str, ...] = ()
    cuda: int | None = None


def nvidia_cards(pci: Path = PCI) -> NvidiaCards:
    """Return what there is, by the driver's library or else by the kernel's list of devices."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        names = tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
        return NvidiaCards(len(names), names, int(pynvml.nvmlSystemGetCudaDriverVersion_v2()))
    except Exception:  # the library is missing, or its error classes are made at run time
        return NvidiaCards(_on_the_bus(pci))


def percent_busy() -> tuple[float, ...]:
    """Return the share of time in which each GPU computed lately, in percent; nothing where no driver answers."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # as above
        return ()
    busy = []
    for handle in handles:
        with suppress(pynvml.NVMLError):  # one that is divided into several does not tell
            busy.append(float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu))
    return tuple(busy)


def _on_the_bus(pci: Path) -> int:
    def read(device: Path, name: str) -> str:
        try:
            return (device / name).read_text().strip()
        except OSError:
            return ""

    devices = sorted(pci.iterdir()) if pci.is_dir() else []
    return sum(read(one, "vendor") == NVIDIA and read(one, "class").startswith(DISPLAY) for one in devices)
