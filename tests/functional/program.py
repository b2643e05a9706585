"""The real program in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

from sweeper.engines import rank, worker

REPOSITORY = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Return an environment without the caller's MLflow settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "default"}


def sweeper(*arguments: str, folder: Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `sweeper ARGUMENTS` in a folder to its end."""
    command = [sys.executable, "-m", "sweeper", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def workers_of(driver: int) -> list[psutil.Process]:
    """Return the worker processes of a driver, given the number of its process."""
    return _named(driver, worker.PROCESS_NAME)


def ranks_of(driver: int) -> list[psutil.Process]:
    """Return the processes of the further devices of a driver's trials."""
    return _named(driver, rank.PROCESS_NAME)


def _named(driver: int, name: bytes) -> list[psutil.Process]:
    try:
        descendants = psutil.Process(driver).children(recursive=True)
        return [process for process in descendants if process.name() == name.decode()]
    except psutil.NoSuchProcess:
        return []


def run_and_export(folder: Path, study: str) -> None:
    """Run the study of space.yaml in a folder, and export its best model."""
    for command in (["run", "space.yaml", "--no-report"], ["best", study, "--export", "--no-register"]):
        done = sweeper(*command, folder=folder)
        assert done.returncode == 0, done.stderr + done.stdout
