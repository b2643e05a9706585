"""A CUDA runtime that stands in for a GPU: built by the test session where a C compiler and CUDA's headers are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
KERNELS = HERE / "without_kernels.py"
"""A model file for search spaces that are run on the stand-in."""
SITE = HERE / "site"
"""A folder that, on PYTHONPATH, prepares every other process for it."""


class CannotBuild(Exception):
    """What is missing to build the stand-in."""


@dataclass(frozen=True)
class StandIn:
    """The libraries that take the place of CUDA's."""

    folder: Path

    def environment(self, **machine: str) -> dict[str, str]:
        """Return this process's environment with GPUs; `runtime.c` and `nvml.c` tell the settings."""
        libraries = [self.folder]
        if {"busy", "watts"} & machine.keys():  # where it is, torch asks it and the driver for much more
            libraries.append(self.folder / "nvml")
        paths = {"LD_PRELOAD": str(self.folder / "libruntime.so"), "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        settings = {f"STAND_IN_{name.upper()}": value for name, value in machine.items()}
        return {**os.environ, **paths, **settings, "CUDA_VISIBLE_DEVICES": visible(machine)}


def visible(machine: Mapping[str, str]) -> str:
    return ",".join(map(str, range(int(machine.get("gpus", "1")))))


def build(folder: Path) -> StandIn:
    """Build the stand-in into a folder. Raises CannotBuild."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotBuild("there is no C compiler (cc) to build the stand-in for CUDA with")
    found = list(Path(sysconfig.get_path("purelib")).glob("nvidia/*/include/driver_types.h"))
    if not found:
        raise CannotBuild("this build of torch brings no CUDA headers to build the stand-in with")
    flags = ["-w", "-shared", "-fPIC", "-O1", f"-I{HERE / 'include'}", f"-I{found[0].parent}"]
    (folder / "nvml").mkdir(exist_ok=True)
    for source, library, linked in (
        ("runtime.c", "libruntime.so", ["-lpthread"]),
        ("driver.c", "libcuda.so.1", ["-ldl"]),
        ("nvml.c", "nvml/libnvidia-ml.so.1", []),
    ):
        command = [compiler, *flags, "-o", str(folder / library), str(HERE / source), *linked]
        subprocess.run(command, check=True, capture_output=True)
    return StandIn(folder)
