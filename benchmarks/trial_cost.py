"""What a trial costs beside its training: asking, handing out, reporting, recording, pictures and weights.

    python -m benchmarks.trial_cost [--trials 1000] [--images 200] [--epochs 1] [--threads 1]

A small network on a few of scikit-learn's digits, in the real program. The cost of a trial is the
time from the end of the one before to its own end, less the seconds it trained and evaluated. So it
holds whatever made the worker wait, and whatever took CPU from it that the clock of the training did
not see. What is delivered to MLflow after the last trial is shown apart and counts in the mean.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import REPOSITORY, Watched, run_sweep
from sweeper.search.study_store import StudyStore

STUDY = "cost"
SIDE = 16  # pixels


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_digits(folder / "digits", options.images)
        watched = run_sweep(folder, space_of(options), options.threads)
        ends = ends_of(folder)
    result = Result("trial_cost", f"{options.images} of scikit-learn's digits, {SIDE} pixels")
    result.add(cost_section(ends, watched, options.window))
    result.add(memory_section(ends, watched))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of the worker; without it torch's own choice")
    parser.add_argument("--window", type=int, default=100, help="trials that are compared, first and last")
    return parser.parse_args()


def write_digits(folder: Path, count: int) -> None:
    """Write the first digits as class folders; `count` of them for training and validation together."""
    digits = load_digits()
    for number in range(count):
        pixels = Image.fromarray((digits.images[number] * 15.9).astype(np.uint8)).resize((SIDE, SIDE))
        split = "val" if number % 5 == 0 else "train"
        target = folder / split / str(digits.target[number]) / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels.convert("RGB").save(target)


def space_of(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "study": STUDY,
        "dataset": {"path": "digits"},
        "budget": {"trials": options.trials, "epochs": options.epochs},
        "cuda_graphs": True,
        "model_files": [str(REPOSITORY / "models" / "small_resnet.py")],
        "search": {
            "backbone": "small_resnet",
            "image_size": SIDE,
            "batch_size": {"choice": [16, 32]},
            "head": {"dropout": {"float": [0.0, 0.4]}},
            "optimizer": {"name": "adamw", "lr": {"float": [1e-4, 1e-2], "log": True}},
            "weight_decay": {"float": [1e-5, 1e-2], "log": True},
            "augment": {"crop_padding": {"int": [0, 2]}},
        },
    }


class End(NamedTuple):
    """When a trial ended, in seconds since the epoch, and how long it trained and evaluated."""

    at: float
    trained_s: float


def ends_of(folder: Path) -> list[End]:
    store = StudyStore.load(f"sqlite:///{folder / 'optuna.db'}", STUDY)
    ended = [End((row.ended_ms or 0) / 1000, row.outcome.seconds) for row in store.rows() if row.outcome]
    return sorted(ended)


def cost_section(ends: list[End], watched: Watched, window: int) -> Section:
    costs = [after.at - before.at - after.trained_s for before, after in pairwise(ends)]
    first, last = costs[:window], costs[-window:]
    growth = [statistics.median(last) / statistics.median(first)]
    tail = watched.ended - ends[-1].at
    started = watched.wall_s - (watched.ended - ends[0].at)
    rows = [
        Measurement(f"cost of each of trials 2 to {window + 1}", "s", first, at_most=1.0),
        Measurement(f"cost of each of the last {window} trials", "s", last, at_most=1.0),
        Measurement("medians, last against first", "", growth, at_most=1.3),
        *driver_cpu(ends, watched, window),
        Measurement("training and evaluation of a trial", "s", [end.trained_s for end in ends]),
        Measurement("start of the program to the end of the first trial", "s", [started]),
        Measurement("last trial to the end of the program: delivery", "s", [tail]),
        Measurement("mean cost of a trial with that delivery", "s", [(sum(costs) + tail) / len(ends)], at_most=1.0),
    ]
    return Section(f"What a trial costs beside its training, {len(ends)} trials", rows)


def driver_cpu(ends: list[End], watched: Watched, window: int) -> list[Measurement]:
    """Return the driver's CPU seconds a trial, recording included: what a busy machine does not change much."""
    at, used = zip(*watched.driver_cpu_s, strict=True)
    first, last = (
        float(np.interp(late.at, at, used) - np.interp(early.at, at, used)) / window
        for early, late in ((ends[0], ends[window]), (ends[-1 - window], ends[-1]))
    )
    return [
        Measurement(f"CPU of the driver for each of trials 2 to {window + 1}, on average", "s", [first]),
        Measurement(f"CPU of the driver for each of the last {window} trials, on average", "s", [last]),
        Measurement("the last against the first", "", [last / first], at_most=1.3),
    ]


def memory_section(ends: list[End], watched: Watched) -> Section:
    """Compare memory between the first and the last tenth of the trials; the very first warm up.

    The driver holds all trials, as Optuna does; a worker holds nothing of those that have ended.
    """
    span = len(ends) // 10
    early, late = (ends[span].at, ends[2 * span].at), (ends[-span].at, ends[-1].at)
    rows = []
    for name, samples in {"driver": watched.driver_mb, "worker": watched.worker_mb}.items():
        before, after = ([mb for at, mb in samples if start <= at <= end] for start, end in (early, late))
        if not before or not after:
            continue
        more = statistics.median(after) - statistics.median(before)
        growth = [statistics.median(after) / statistics.median(before)]
        rows += [
            Measurement(f"{name}, trials {span + 1} to {2 * span + 1}", "MB", before),
            Measurement(f"{name}, last {span} trials", "MB", after),
            Measurement(f"{name}, for each trial in between", "MB", [more / (len(ends) - 2 * span)]),
            Measurement(f"{name}, last against early", "", growth, at_most=1.1),
        ]
    return Section("Resident memory over a study", rows)


if __name__ == "__main__":
    main()
