"""How cost grows with images, classes, image size and workers (with trials: `trial_cost`, `many_trials`).

    python -m benchmarks.growth [--repeats 3]

Small grids on generated images, one quantity varied at a time. Growth with images is that of an
epoch of `small_resnet`; with classes, that of evaluating and drawing; with workers, of a whole sweep.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.images import gather
from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import REPOSITORY, watch, write_space
from sweeper.config.dataset import DatasetConfig
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import ObjectiveConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.prepare import prepare_images
from sweeper.modeling.registry import load_model_files
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import TrialSpec
from sweeper.scores.metrics import ClassificationMetrics
from sweeper.tracking.confusion_picture import draw_confusion
from sweeper.training.conditions import Conditions
from sweeper.training.inputs import TrialData
from sweeper.training.trainer import train

MODEL_FILE = REPOSITORY / "models" / "small_resnet.py"
LOGITS = 10_000  # that metrics are computed of


def main() -> None:
    options = arguments()
    load_model_files([MODEL_FILE])
    result = Result("growth", "generated")
    result.add(section("An epoch, by images (16 pixels)", "images", options.images, epoch_of_images, options.repeats))
    result.add(
        section("An epoch of 640 images, by image size", "pixels", options.sizes, epoch_of_size, options.repeats)
    )
    result.add(section("Metrics of 10,000 images, by classes", "classes", options.classes, metrics_of, options.repeats))
    result.add(
        section("One confusion matrix drawn, by classes", "classes", options.classes, picture_of, options.repeats)
    )
    result.add(section("A sweep of 8 trials, by workers", "workers", options.workers, sweep_of, 1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=int, default=[500, 2000, 8000])
    parser.add_argument("--sizes", nargs="+", type=int, default=[16, 32, 64, 96])
    parser.add_argument("--classes", nargs="+", type=int, default=[10, 100, 200, 1000])
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def section(title: str, what: str, grid: list[int], measure: Callable[[int, Path], float], repeats: int) -> Section:
    found: dict[int, list[float]] = {value: [] for value in grid}
    for _ in range(repeats):
        for value in grid:
            with tempfile.TemporaryDirectory() as name:
                found[value].append(measure(value, Path(name)))
    return Section(title, [Measurement(f"{value:,} {what}", "s", seconds) for value, seconds in found.items()])


def epoch_of_images(count: int, folder: Path) -> float:
    return epoch_s(folder, count, 16)


def epoch_of_size(size: int, folder: Path) -> float:
    return epoch_s(folder, 640, size)


def epoch_s(folder: Path, count: int, size: int) -> float:
    """Return the seconds of the second epoch: training, evaluation, checkpoint and what leads to the next."""
    images = gather(None, folder / "images", size=size, classes=10, train=count, val=count // 5)
    image_set = prepare_images(DatasetConfig(path=str(images.folder)), size, Workspace(folder))
    splits = (DeviceImages(image_set, "train", "cpu"), DeviceImages(image_set, "val", "cpu"))
    config = TrialConfig.model_validate({"backbone": "small_resnet", "image_size": size, "batch_size": 64})
    ends: list[float] = []

    def note(_: object) -> bool:
        ends.append(time.perf_counter())
        return False

    train(
        TrialSpec(number=0, seed=0, epochs=2, config=config),
        TrialFolder(folder / "trial-0000"),
        Conditions(TrialData(*splits, image_set.classes), ObjectiveConfig(), None, torch.device("cpu")),
        note,
    )
    return ends[1] - ends[0]


def metrics_of(classes: int, _: Path) -> float:
    logits, labels = torch.randn(LOGITS, classes), torch.randint(classes, (LOGITS,))
    started = time.perf_counter()
    metrics = ClassificationMetrics(classes, "cpu")
    for part in range(0, LOGITS, 100):
        metrics.update(logits[part : part + 100], labels[part : part + 100], torch.zeros(100))
    metrics.compute()
    return time.perf_counter() - started


def picture_of(classes: int, folder: Path) -> float:
    confusion = np.random.default_rng(0).integers(0, 5, (classes, classes))
    names = [f"class {number}" for number in range(classes)]
    started = time.process_time()
    draw_confusion(confusion, names, "trial 0", folder / "confusion.png")
    return time.process_time() - started


def sweep_of(workers: int, folder: Path) -> float:
    gather(None, folder / "images", size=32, classes=10, train=1000, val=200)
    search = {"backbone": "small_resnet", "image_size": 32, "batch_size": 64}
    search["weight_decay"] = {"float": [1e-5, 1e-2], "log": True}
    space = {
        "study": "growth",
        "dataset": {"path": "images"},
        "budget": {"trials": 8, "epochs": 2},
        "model_files": [str(MODEL_FILE)],
        "search": search,
    }
    file = write_space(folder, space)
    command = [sys.executable, "-m", "sweeper", "run", file.name, "--workers", str(workers)]
    return watch(command, folder).wall_s


if __name__ == "__main__":
    main()
