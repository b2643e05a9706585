"""Seconds until a network from nothing reaches an accuracy: one trial of the real program, with several seeds.

    python -m benchmarks.time_to_accuracy --data FOLDER [--goal 0.94] [--backbone resnet9] [--epochs 18]

FOLDER is CIFAR-10 as class folders (train/CLASS, test/CLASS): trained on all of train, judged on all of test, as
published times are. The clock runs from the first batch to the end of the first evaluation at the goal, with
evaluations and checkpoints in between; starting the program and decoding are not in it, compiling is. The first trial
also warms the device up. On the way to fewer seconds: fewer epochs, as long as most seeds still get there.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import mlflow

from benchmarks.images import gather
from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import REPOSITORY, run_sweep
from sweeper.paths import Workspace

STUDY = "time-to-accuracy"
CLASSES = 10


class Race(NamedTuple):
    """One trial: seconds and epochs until the goal, if it was reached, and the best accuracy there was."""

    seconds: float | None
    epochs: int | None
    accuracy: float
    images_per_s: float


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = gather(
            options.data, folder / "images", size=32, classes=CLASSES, train=options.train, val=options.test
        )
        run_sweep(folder, space_of(options, images.folder))
        races = races_of(folder, options)
    result = Result("time_to_accuracy", images.about)
    result.add(section(races, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--goal", type=float, default=0.94)
    parser.add_argument("--backbone", default="resnet9", help="of models/resnet9.py, models/small_resnet.py or timm")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--lr", type=float, default=0.4, help="the highest of one cycle, SGD with Nesterov momentum")
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--erasing", type=float, default=0.0, help="probability of blanking a rectangle")
    parser.add_argument("--train", type=int, default=50_000)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args()


def space_of(options: argparse.Namespace, images: Path) -> dict[str, Any]:
    return {
        "study": STUDY,
        "dataset": {"path": str(images)},
        "budget": {"trials": options.seeds, "epochs": options.epochs},
        "pruner": {"name": "none"},
        "compile": options.compile,
        "cuda_graphs": not options.compile,
        "model_files": [str(REPOSITORY / "models" / name) for name in ("resnet9.py", "small_resnet.py")],
        "search": {
            "backbone": options.backbone,
            "image_size": 32,
            "batch_size": options.batch_size,
            "optimizer": {"name": "sgd", "lr": options.lr, "momentum": 0.9, "nesterov": True},
            "weight_decay": options.weight_decay,
            "label_smoothing": 0.2,
            "augment": {"crop_padding": 4, "flip": True, "erasing": options.erasing},
            "scheduler": {"name": "one_cycle", "rise": 0.25},
        },
    }


def races_of(folder: Path, options: argparse.Namespace) -> list[Race]:
    mlflow.set_tracking_uri(f"sqlite:///{Workspace(folder).mlflow_database}")
    runs = mlflow.search_runs(experiment_names=[STUDY], filter_string="tags.`sweeper.trial` != 'sweep'")
    client = mlflow.MlflowClient()
    return [race(client, run, options) for run in runs.sort_values("start_time")["run_id"]]


def race(client: mlflow.MlflowClient, run: str, options: argparse.Namespace) -> Race:
    accuracies = client.get_metric_history(run, "val/accuracy")
    if not accuracies:  # the trial failed in its first epoch
        return Race(None, None, 0.0, 0.0)
    first_epoch_s = client.get_metric_history(run, "time/epoch_s")[0].value
    throughput = [point.value for point in client.get_metric_history(run, "images_per_s")]
    before = list(takewhile(lambda point: point.value < options.goal, accuracies))
    best = max(point.value for point in accuracies)
    if len(before) == len(accuracies):
        return Race(None, None, best, max(throughput))
    reached = accuracies[len(before)]
    seconds = first_epoch_s + (reached.timestamp - accuracies[0].timestamp) / 1000
    return Race(seconds, reached.step, best, max(throughput))


def section(races: list[Race], options: argparse.Namespace) -> Section:
    there = [race for race in races if race.seconds is not None]
    rows = [
        Measurement("trials that reached it", "%", [100 * len(there) / len(races)], at_least=50),
        Measurement("best accuracy", "", [race.accuracy for race in races]),
        Measurement("training", "images/s", [race.images_per_s for race in races]),
    ]
    if there:
        rows[1:1] = [
            Measurement("seconds until then", "s", [race.seconds for race in there if race.seconds is not None]),
            Measurement("epochs until then", "", [race.epochs for race in there if race.epochs is not None]),
        ]
    title = f"{options.backbone} to {100 * options.goal:g} % on the test images, at most {options.epochs} epochs"
    return Section(title, rows)


if __name__ == "__main__":
    main()
