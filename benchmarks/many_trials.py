"""What commands take on a study of many trials, beside one of ten: seconds, memory, and the size of the page.

    python -m benchmarks.many_trials [--trials 20000] [--epochs 10] [--repeats 3]

The studies come from `benchmarks.large_study`: what a driver leaves of each trial in the storage, and in MLflow a run
of each with all metrics, parameters and files. What a command takes with ten trials is the start of the program and
its imports.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.large_study import STUDY, large_sweep, write_large_study
from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import environment
from sweeper.paths import Workspace
from sweeper.results import TrialOutcome, TrialState
from sweeper.search.study_store import StudyStore

FEW = 10
PAGE = "page.html"
COMMANDS = {
    "status": ["status"],
    "best": ["best"],
    "doctor": ["doctor"],
    "report": ["report", "--no-log", "--to", PAGE],
    "sync": ["sync"],
    "diff": ["diff", f"{STUDY}/0", f"{STUDY}/1"],
}
MOST_S = {"status": 2.0, "best": 2.0, "doctor": 20.0, "report": 20.0}
"""Seconds that the trials may cost a command."""

MOST_MB = 500.0

LAUNCHER = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(time.perf_counter() - started, used.ru_maxrss / 1e3)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Starts a command from a process of its own: the most memory that Linux reports of one counts its parent's, too."""


class Took(NamedTuple):
    """What a process took."""

    seconds: float
    mb: float


def main() -> None:
    options = arguments()
    result = Result("many_trials", "none; runs with the predictions of 500")
    with tempfile.TemporaryDirectory() as name:
        folders = {count: Path(name) / str(count) for count in (FEW, options.trials)}
        for count, folder in folders.items():
            folder.mkdir()
            write_large_study(Workspace(folder), count, options.epochs)
        for command, words in COMMANDS.items():
            result.add(command_section(command, words, folders, options))
        result.add(run_section(folders[options.trials], options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def command_section(command: str, words: list[str], folders: dict[int, Path], options: argparse.Namespace) -> Section:
    took: dict[int, list[Took]] = {count: [] for count in folders}
    for _ in range(options.repeats):
        for count, folder in folders.items():
            took[count].append(measured([sys.executable, "-m", "sweeper", *words], folder))
    few, many = took.values()
    rows = [Measurement(f"{count:,} trials", "s", [one.seconds for one in found]) for count, found in took.items()]
    more = [large.seconds - small.seconds for small, large in zip(few, many, strict=True)]
    rows.append(Measurement("what the trials cost", "s", more, at_most=MOST_S.get(command)))
    limit = MOST_MB if command in MOST_S else None
    rows += [Measurement(f"{count:,} trials", "MB", [one.mb for one in found]) for count, found in took.items()]
    rows.append(
        Measurement("what the trials cost", "MB", [b.mb - a.mb for a, b in zip(few, many, strict=True)], at_most=limit)
    )
    if command == "report":
        rows.append(Measurement("the page", "MB", [(folders[options.trials] / PAGE).stat().st_size / 1e6]))
    return Section(f"sweeper {command}", rows)


def measured(command: list[str], folder: Path) -> Took:
    """Run a command to its end. Raises CalledProcessError where it fails."""
    launched = [sys.executable, "-S", "-c", LAUNCHER, *command]
    done = subprocess.run(launched, cwd=folder, env=environment(1), capture_output=True, text=True, check=True)
    seconds, mb = done.stdout.split()
    return Took(float(seconds), float(mb))


def run_section(folder: Path, options: argparse.Namespace) -> Section:
    """Measure what a further `sweeper run` does: it opens the study, reads its trials, and asks for more."""
    further = large_sweep(options.trials + 10, options.epochs)
    opened, asked = [], []
    for _ in range(options.repeats):
        started = time.perf_counter()
        store = StudyStore.create_or_load(f"sqlite:///{Workspace(folder).optuna_database}", further)
        store.requeue_interrupted()
        store.rows()
        opened.append(time.perf_counter() - started)
        started = time.perf_counter()
        (spec,) = store.next_group(1)
        asked.append(time.perf_counter() - started)
        store.finish(spec.number, TrialOutcome(state=TrialState.FAILED, reason="only asked for"))
        store.close()
    rows = [
        Measurement("open the study and read its trials", "s", opened),
        Measurement("ask for a trial, most of it Optuna's TPE", "s", asked),
    ]
    return Section(f"A further run of {options.trials:,} trials", rows)


if __name__ == "__main__":
    main()
