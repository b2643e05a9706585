"""Wall time of a whole sweep: sweeper, the peer (Optuna and Lightning) and the second peer (Ray Tune).

    python -m benchmarks.sweep [--data FOLDER] [--trials 8] [--epochs 2] [--repeats 3]

Same images, network, search space, number of trials and epochs, seed and threads; all record
metrics, a confusion matrix and weights in MLflow on SQLite. Each contestant is a program of its own,
started anew each time in an empty folder, from its start to its end, so that everything counts. The
peers are measured with 0, 1, 2 and all-cores loader processes, and the best of these is compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.images import gather
from benchmarks.measurements import Measurement, Result, Section, ratios
from benchmarks.peers import LEARNING_RATE, PADDING, STARTUP_TRIALS, WEIGHT_DECAY, Task
from benchmarks.program import Watched, run_sweep, watch

PEERS = {"peer": "peer_lightning", "second peer": "peer_ray"}
NAMES = {"peer": "Optuna + Lightning", "second peer": "Ray Tune"}
Contestant = Callable[[Path], Watched]


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = gather(
            options.data, folder / "images", size=options.size, classes=10, train=options.train, val=options.val
        )
        task = task_of(options, images.folder)
        contestants = contestants_of(task, options)
        result = Result(options.name, images.about)
        found: dict[str, list[Watched]] = {who: [] for who in contestants}
        for repeat in range(options.repeats):
            for who, contestant in contestants.items():
                home = folder / f"{who}-{repeat}".replace(" ", "-")
                home.mkdir()
                found[who].append(contestant(home))
                print(f"{who}: {found[who][-1].wall_s:.1f} s, {found[who][-1].cpu_s:.0f} CPU s", flush=True)
    result.add(section(found, task))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with train/CLASS/; generated images without it")
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--val", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loaders", nargs="+", type=int, default=sorted({0, 1, 2, os.cpu_count() or 1}))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--name", default="sweep", help="of the result, to keep one beside another")
    parser.add_argument("--without", nargs="+", choices=sorted(PEERS), default=[])
    parser.add_argument("--workers", nargs="+", default=["1"], help="of sweeper: numbers or auto, each a contestant")
    return parser.parse_args()


def task_of(options: argparse.Namespace, images: Path) -> Task:
    return Task(
        images=images,
        backbone=options.backbone,
        size=options.size,
        batch_size=options.batch_size,
        trials=options.trials,
        epochs=options.epochs,
        seed=1,
        loaders=0,
        threads=options.threads,
    )


def contestants_of(task: Task, options: argparse.Namespace) -> dict[str, Contestant]:
    found: dict[str, Contestant] = {
        "sweeper" if workers == "1" else f"sweeper --workers {workers}": partial(run_sweeper, task, workers)
        for workers in options.workers
    }
    for peer in (peer for peer in PEERS if peer not in options.without):
        for loaders in options.loaders:
            found[f"{peer}, {loaders} loaders"] = partial(run_peer, replace(task, loaders=loaders), PEERS[peer])
    return found


def run_sweeper(task: Task, workers: str, home: Path) -> Watched:
    return run_sweep(home, space_of(task), task.threads, "--workers", workers)


def run_peer(task: Task, module: str, home: Path) -> Watched:
    return watch([sys.executable, "-m", f"benchmarks.{module}", *task.words()], home, task.threads)


def space_of(task: Task) -> dict[str, Any]:
    def spread(bounds: tuple[float, float]) -> dict[str, Any]:
        return {"float": list(bounds), "log": True}

    return {
        "study": "sweep",
        "dataset": {"path": str(task.images)},
        "budget": {"trials": task.trials, "epochs": task.epochs},
        "pruner": {"name": "median", "startup_trials": STARTUP_TRIALS},
        "seed": task.seed,
        "search": {
            "backbone": task.backbone,
            "pretrained": str(task.weights) if task.weights else False,
            "image_size": task.size,
            "batch_size": task.batch_size,
            "optimizer": {"name": "adamw", "lr": spread(LEARNING_RATE)},
            "weight_decay": spread(WEIGHT_DECAY),
            "augment": {"crop_padding": PADDING, "flip": True},
        },
    }


def section(found: dict[str, list[Watched]], task: Task) -> Section:
    seconds = {who: [one.wall_s for one in runs] for who, runs in found.items()}
    cpu = {who: [one.cpu_s for one in runs] for who, runs in found.items()}
    rows = [Measurement(who, "s", values) for who, values in seconds.items()]
    rows += [Measurement(f"{who}, of CPU", "s", values) for who, values in cpu.items()]
    for peer in PEERS:
        settings = [who for who in found if who.startswith(f"{peer},")]
        if settings:
            best = fastest(settings, seconds)
            demand = 0.65 if peer == "peer" else None
            wall, used = ratios(seconds["sweeper"], seconds[best]), ratios(cpu["sweeper"], cpu[best])
            rows.append(Measurement(f"sweeper against {NAMES[peer]} at its best ({best})", "", wall, at_most=demand))
            rows.append(Measurement("the same in CPU seconds", "", used))
    title = (
        f"{task.trials} trials of {task.epochs} epochs, {task.backbone} at {task.size} pixels, batch {task.batch_size}"
    )
    return Section(
        title, rows, f"{task.threads} threads each; peer: {NAMES['peer']}, second peer: {NAMES['second peer']}."
    )


def fastest(settings: Iterable[str], seconds: dict[str, list[float]]) -> str:
    return min(settings, key=lambda who: statistics.median(seconds[who]))


if __name__ == "__main__":
    main()
