"""What torch makes of the cards of this machine, asked in a process of its own: it takes seconds and 800 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import DeviceError

DRIVERS = tuple(map(Path, ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")))
"""What Linux has where torch may find a card: of NVIDIA, of Windows around it, of AMD."""

QUESTION = """
import json, torch
there = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
print(json.dumps([[torch.cuda.get_device_name(index) for index in there], torch.version.cuda]))
"""
ANSWERS_WITHIN_S = 120


@dataclass(frozen=True)
class TorchDevices:
    """The names of the cards that torch can use, and the CUDA that it was built for."""

    names: tuple[str, ...]
    cuda: str | None


def may_have_a_card(drivers: Sequence[Path] = DRIVERS) -> bool:
    """Return whether torch is to be asked at all; on systems other than Linux it always is."""
    return sys.platform != "linux" or any(driver.exists() for driver in drivers)


def torch_devices() -> TorchDevices:
    """Ask torch. Raises DeviceError where it cannot be imported, or does not answer."""
    command = [sys.executable, "-c", QUESTION]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWERS_WITHIN_S, check=True)
        names, cuda = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise DeviceError(f"torch cannot list its devices: {said}") from error
    except (subprocess.TimeoutExpired, OSError, ValueError, IndexError) as error:
        raise DeviceError(f"torch cannot list its devices: {error}") from error
    return TorchDevices(tuple(names), cuda)
