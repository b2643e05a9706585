"""On what a benchmark ran: the machine, the versions, the command and the day."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("torch", "torchvision", "timm", "optuna", "mlflow", "lightning", "ray", "numpy", "pillow")


def conditions() -> dict[str, Any]:
    """Return everything that a figure depends on and that is not in the benchmark itself."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "command": command(),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "gpu": gpu(),
            "system": f"{platform.system()} {platform.release()}",
            "load": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **versions()},
    }


def command() -> str:
    """Return how this benchmark was started; of a path outside the repository only its name."""
    module = Path(sys.argv[0]).stem
    shown = [Path(word).name if word.startswith(("/", "..")) else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", f"benchmarks.{module}", *shown])


def processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def gpu() -> str | None:
    """Return the name of the GPU that torch would use."""
    import torch  # here: a process that only decodes images for a benchmark imports this module too

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit that is measured; `SWEEPER_COMMIT` names it where the repository came without its history."""
    if "SWEEPER_COMMIT" in os.environ:
        return os.environ["SWEEPER_COMMIT"]
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
