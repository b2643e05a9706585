"""Whether `sweeper run --for` keeps its deadline while other processes load the machine.

    python -m benchmarks.deadline    # 40 sweeps of 90 to 150 s, one at a time: 80 minutes on two cores
    python -m benchmarks.deadline --at-once 2 --name deadline_2

Each sweep gets a time of its own, on scikit-learn's digits. Beside it up to two busy processes come and go at random.
What counts is the end of the whole program: the model exported, the report written.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import REPOSITORY, run_sweep

TOLERATED = (20.0, 0.03)
"""Seconds, or the part of the time where that is more, by which the end may miss the deadline."""

BUSY = "while True: pass"
REPETITIONS = re.compile(r"over (\d+) fresh seeds")


@dataclass(frozen=True)
class Kept:
    """How one sweep has ended."""

    given_s: float
    took_s: float
    trials: int
    exported: bool
    seeds: int

    @property
    def late_s(self) -> float:
        return self.took_s - self.given_s

    @property
    def in_time(self) -> bool:
        return abs(self.late_s) <= max(TOLERATED[0], TOLERATED[1] * self.given_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--shortest", type=int, default=90, help="seconds")
    parser.add_argument("--longest", type=int, default=150, help="seconds")
    parser.add_argument("--name", default="deadline", help="of the file with the results")
    options = parser.parse_args()
    with busy_machine(random.Random(0)), ThreadPoolExecutor(options.at_once) as lanes:
        lengths = [random.Random(number).randint(options.shortest, options.longest) for number in range(options.sweeps)]
        kept = list(lanes.map(one_sweep, range(options.sweeps), lengths))
    in_time = 100 * sum(one.late_s <= max(TOLERATED[0], TOLERATED[1] * one.given_s) for one in kept) / len(kept)
    within = 100 * sum(one.in_time for one in kept) / len(kept)
    rows = [
        Measurement("ended within 20 s or 3 % of the deadline", "%", [within], at_least=95),
        Measurement("ended no later than that after it", "%", [in_time], at_least=95),
        Measurement("with a model exported", "%", [100 * sum(one.exported for one in kept) / len(kept)], at_least=100),
        Measurement("confirmed with fresh seeds", "%", [100 * sum(one.seeds > 0 for one in kept) / len(kept)]),
        Measurement("after the deadline (before it: negative)", "s", [one.late_s for one in kept]),
        Measurement("time given", "s", [one.given_s for one in kept]),
        Measurement("trials", "", [float(one.trials) for one in kept]),
        Measurement("fresh seeds of each of the best", "", [float(one.seeds) for one in kept]),
    ]
    result = Result(options.name, "digits")
    title = f"{len(kept)} sweeps, {options.at_once} at a time, beside up to two busy processes that come and go"
    result.add(Section(title, rows))


def one_sweep(number: int, given: int) -> Kept:
    """Run a sweep with a time of its own, in seconds, to its end."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        try:
            watched = run_sweep(folder, space(number), None, "--for", f"{given}s")
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"sweep {number} ended with exit code {error.returncode}:\n{error.output}") from error
        said = (folder / "output.txt").read_text()
        seeds = REPETITIONS.search(said)
        return Kept(
            given_s=given,
            took_s=watched.wall_s,
            trials=len(re.findall(r"^trial \d+ started", said, re.MULTILINE)),
            exported=(folder / "exports" / "s" / "model.onnx").exists(),
            seeds=int(seeds[1]) if seeds else 0,
        )


def space(seed: int) -> dict[str, Any]:
    return {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "budget": {"epochs": 8},
        "seed": seed,
        "model_files": [str(REPOSITORY / "models" / "small_resnet.py")],
        "search": {
            "backbone": "small_resnet",
            "image_size": {"choice": [16, 24]},
            "batch_size": {"choice": [32, 64, 128]},
            "optimizer": {"name": "adamw", "lr": {"float": [1e-4, 1e-2], "log": True}},
            "scheduler": {"name": "reduce_on_plateau", "patience": {"int": [0, 2]}},
        },
    }


@contextmanager
def busy_machine(dice: random.Random) -> Iterator[None]:
    """Let one or two busy processes come and go while the block runs."""
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(dice.randint(0, 2))]
            over.wait(dice.uniform(5, 30))
            for process in busy:
                process.kill()
                process.wait()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
