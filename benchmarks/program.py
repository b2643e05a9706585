"""The program as a user runs it, in a process of its own, with an eye on its memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pynvml
import yaml

from sweeper.engines.worker import PROCESS_NAME

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE_S = 0.5


@dataclass
class Watched:
    """How a process ended and what it took: seconds of wall clock, of all its processes' CPU, memory over time."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    ended: float = 0.0  # seconds since the epoch
    driver_mb: list[tuple[float, float]] = field(default_factory=list)  # (seconds since the epoch, MB)
    worker_mb: list[tuple[float, float]] = field(default_factory=list)
    driver_cpu_s: list[tuple[float, float]] = field(default_factory=list)  # used so far, of the driver alone
    gpu_use: list[tuple[float, float]] = field(default_factory=list)  # share of the time in which a GPU computed

    def gpu_use_between(self, start: float, end: float) -> float | None:
        """Return the mean share between two times, seconds since the epoch; None without a GPU."""
        shares = [share for at, share in self.gpu_use if start <= at <= end]
        return sum(shares) / len(shares) if shares else None


def environment(threads: int | None = None) -> dict[str, str]:
    """Return an environment without the caller's MLflow settings, with this checkout first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "OMP_"))}
    chosen = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    return {**kept, **chosen, "PYTHONPATH": path}


def write_space(folder: Path, space: dict[str, Any]) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(space, sort_keys=False))
    return path


def run_sweep(folder: Path, space: dict[str, Any], threads: int | None = None, *options: str) -> Watched:
    """Run `sweeper run` on a search space in a folder of its own. Raises CalledProcessError with its log's end."""
    space_file = write_space(folder, space)
    return watch([sys.executable, "-m", "sweeper", "run", space_file.name, *options], folder, threads)


def watch(command: list[str], folder: Path, threads: int | None = None) -> Watched:
    """Run a command to its end. Its output goes to output.txt in the folder."""
    watched = Watched()
    gpu_shares = shares_of_first_gpu()
    log = folder / "output.txt"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with log.open("wb") as output:
        process = psutil.Popen(
            command, cwd=folder, env=environment(threads), stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
        while process.poll() is None:
            _sample(process, watched)
            watched.gpu_use += gpu_shares()
            try:
                process.wait(SAMPLE_S)
            except psutil.TimeoutExpired:
                continue
    watched.wall_s, watched.ended = time.perf_counter() - started, time.time()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    waited_for = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
    watched.cpu_s = max(watched.cpu_s, waited_for)  # what nobody waited for is in the samples only
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, log.read_text(errors="replace")[-2000:])
    return watched


def shares_of_first_gpu() -> Callable[[], list[tuple[float, float]]]:
    """Return what gives the share of the latest moments in which the first GPU computed, as its driver counts them."""
    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByIndex(0)
    except pynvml.NVMLError:  # there is none
        return list
    return lambda: [(time.time(), pynvml.nvmlDeviceGetUtilizationRates(card).gpu / 100)]


def _sample(process: psutil.Process, watched: Watched) -> None:
    try:
        now = time.time()
        watched.driver_mb.append((now, process.memory_info().rss / 1e6))
        watched.driver_cpu_s.append((now, sum(process.cpu_times()[:2])))
        tree = [process, *process.children(recursive=True)]
        used = sum(sum(one.cpu_times()[:4]) for one in tree)  # with that of their children who have ended
        watched.cpu_s = max(watched.cpu_s, used)
        workers = [one for one in tree if one.name() == PROCESS_NAME.decode()]
        if workers:
            watched.worker_mb.append((now, max(one.memory_info().rss for one in workers) / 1e6))
    except psutil.NoSuchProcess:
        pass  # it ended between two looks
