"""Trials an hour with one slot and with two: sweeper on this machine, sweeper on a Ray cluster, and Ray Tune.

    python -m benchmarks.scaling [--data FOLDER] [--trials 24] [--epochs 1] [--repeats 3]

Many short trials of one thread each, so that what a tool takes beside the training shows. Same images, network, search
space, trials and epochs; all record metrics, a confusion matrix and weights in MLflow on SQLite. Each contestant is a
program of its own, started anew in an empty folder, from its start to its end.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.images import gather
from benchmarks.measurements import Measurement, Result, Section, ratios
from benchmarks.peers import Task
from benchmarks.program import Watched, run_sweep
from benchmarks.sweep import Contestant, run_peer, space_of

TOOLS = ("sweeper", "sweeper --engine ray", "Ray Tune")
SLOTS = (1, 2)
RAY = {"name": "ray", "address": "local", "cpus_per_trial": 1}


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = gather(options.data, folder / "images", size=32, classes=10, train=options.train, val=options.val)
        contestants = {
            (tool, slots): contestant(tool, task_of(options, images.folder, slots)) for tool in TOOLS for slots in SLOTS
        }
        found: dict[tuple[str, int], list[Watched]] = {who: [] for who in contestants}
        result = Result("scaling", images.about)
        for repeat in range(options.repeats):
            for (tool, slots), run in contestants.items():
                home = folder / f"{tool}-{slots}-{repeat}".replace(" ", "-")
                home.mkdir()
                found[tool, slots].append(run(home))
                print(f"{tool}, {slots} at once: {found[tool, slots][-1].wall_s:.1f} s", flush=True)
    result.add(section(found, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with train/CLASS/; generated images without it")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--val", type=int, default=500)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def task_of(options: argparse.Namespace, images: Path, slots: int) -> Task:
    return Task(
        images=images,
        backbone="resnet10t",
        size=32,
        batch_size=128,
        trials=options.trials,
        epochs=options.epochs,
        seed=1,
        loaders=0,
        threads=1,
        at_once=slots,
    )


def contestant(tool: str, task: Task) -> Contestant:
    if tool == "Ray Tune":
        return partial(run_peer, task, "peer_ray")
    return partial(run_sweeper, task, {"engine": RAY} if "ray" in tool else {})


def run_sweeper(task: Task, settings: dict[str, object], home: Path) -> Watched:
    return run_sweep(home, space_of(task) | settings, task.threads, "--workers", str(task.at_once))


def section(found: dict[tuple[str, int], list[Watched]], options: argparse.Namespace) -> Section:
    seconds = {who: [one.wall_s for one in runs] for who, runs in found.items()}
    rows = [Measurement(f"{tool}, {slots} at once", "s", values) for (tool, slots), values in seconds.items()]
    for tool in TOOLS:
        gained = [one / (2 * two) for one, two in zip(seconds[tool, 1], seconds[tool, 2], strict=True)]
        rows.append(Measurement(f"{tool}: efficiency from 1 to 2", "", gained))
    for tool in TOOLS[:-1]:
        beside = ratios(seconds[tool, 2], seconds["Ray Tune", 2])
        rows.append(Measurement(f"{tool} against Ray Tune, 2 at once", "", beside))
    title = f"{options.trials} trials of {options.epochs} epochs, resnet10t at 32 pixels, one thread each"
    return Section(title, rows, "From the start of the program to its end; efficiency 1 is half the time with two.")


if __name__ == "__main__":
    main()
