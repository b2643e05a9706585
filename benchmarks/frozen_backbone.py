"""A trial on stored features beside the same trial through its frozen backbone.

    python -m benchmarks.frozen_backbone --data FOLDER --weights FILE [--image-size 64]
    python -m benchmarks.frozen_backbone --data FOLDER --weights FILE --trainable last_stage --name frozen_backbone_1

FOLDER is any data set that a search space takes, FILE holds weights of the backbone. A head learns, or the last stage
and a head; then a head alone is trained as well, for its accuracy. The trials of a repeat have the same seed and
hyperparameters and are run in turn: through the backbone, on features that must be computed first (cold), and on
features that are there (warm). Training is the sum of the epochs; the whole trial adds building the network,
checkpoints and weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.measurements import Measurement, Result, Rows, Section, ratios
from sweeper.config.dataset import DatasetConfig
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import FeaturesConfig, ObjectiveConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.feature_cache import FeatureCache
from sweeper.data.prepare import prepare_images
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import TrialSpec
from sweeper.training.conditions import Conditions
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.trainer import train

DEMAND = 50.0
HEAD = {"trainable": "head", "optimizer": {"name": "adamw", "lr": 3e-3}}
WHOLE = "through the backbone / warm: whole trial"


def main() -> None:
    options = arguments()
    with TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    head = options.trainable == "head"
    learning = f"a head on {options.backbone}" if head else f"the last stage of {options.backbone} and a head"
    title = f"{options.epochs} epochs of {learning}, {options.image_size} pixels"
    wanted = {WHOLE: DEMAND} if head else {}
    shown = [Measurement(name, "", values, at_least=wanted.get(name)) for name, values in rows.items()]
    about = f"{options.train_images:,} + {options.val_images:,} of {options.classes} classes from {options.data.name}"
    Result(options.name, about).add(Section(title, shown))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--trainable", choices=["head", "last_stage"], default="head")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--name", default="frozen_backbone", help="of the result, to keep one beside another")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--stored-size", type=int, help="side of the decoded images; by default the image size")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--train-images", type=int, default=2000)
    parser.add_argument("--val-images", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--views", type=int, nargs="*", default=[], help="also: accuracy with augmentation, by views")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def images(options: argparse.Namespace, workspace: Workspace) -> TrialData:
    limit = {"classes": options.classes, "train_images": options.train_images, "val_images": options.val_images}
    dataset = DatasetConfig.model_validate({"path": str(options.data.absolute()), "limit": limit})
    found = prepare_images(dataset, options.stored_size or options.image_size, workspace)
    train_images, val_images = (DeviceImages(found, split, options.device) for split in ("train", "val"))
    return TrialData(train_images, val_images, found.titles)


def trial(options: argparse.Namespace, seed: int, augment: dict[str, Any], **changed: Any) -> TrialSpec:
    config = TrialConfig.model_validate(
        {
            "backbone": options.backbone,
            "pretrained": str(options.weights.absolute()),
            "trainable": options.trainable,
            "image_size": options.image_size,
            "batch_size": options.batch_size,
            "optimizer": {"name": "adamw", "lr": options.lr},
            "augment": augment,
            **changed,
        }
    )
    return TrialSpec(number=seed, seed=seed, epochs=options.epochs, config=config)


class Bench:
    """Runs trials in folders of their own and collects what they cost."""

    def __init__(self, options: argparse.Namespace, root: Path):
        self._options = options
        self._root = root
        self._data = images(options, Workspace(root))
        self.rows: Rows = {}

    def features(self, name: str, views: int) -> FrozenFeatures:
        config = FeaturesConfig(views=views, last_stage=True)
        return FrozenFeatures(FeatureCache(self._root / name), config, torch.device(self._options.device))

    def run(self, name: str, spec: TrialSpec, features: FrozenFeatures | None) -> None:
        folder = TrialFolder(self._root / "trials" / f"{len(self.rows)}-{name}-{spec.seed}-{time.monotonic_ns()}")
        started = time.perf_counter()
        device = torch.device(self._options.device)
        conditions = Conditions(self._data, ObjectiveConfig(), None, device, features=features)
        outcome = train(spec, folder, conditions, lambda _: False)
        whole = time.perf_counter() - started
        self.add(f"{name}: whole trial, s", whole)
        self.add(f"{name}: training, s", outcome.seconds)
        self.add(f"{name}: val/accuracy", outcome.best_value or 0.0)
        print(f"{name}: {whole:.2f} s, accuracy {outcome.best_value}", flush=True)

    def add(self, name: str, value: float) -> None:
        self.rows.setdefault(name, []).append(value)


def measure(options: argparse.Namespace, root: Path) -> Rows:
    bench = Bench(options, root)
    warm = bench.features("warm", 1)
    train_once = trial(options, 0, {}).model_copy(update={"epochs": 1})
    Bench(options, root).run("warm-up", train_once, warm)  # its figures are not kept
    for repeat in range(options.repeats):
        spec = trial(options, repeat, {})
        bench.run("through the backbone", spec, None)
        bench.run("cold", spec, bench.features(f"cold-{repeat}", 1))
        for _ in range(3):  # a short one is measured more than once
            bench.run("warm", spec, warm)
        if options.trainable == "last_stage":
            bench.run("a head alone", trial(options, repeat, {}, **HEAD), warm)
    rows = bench.rows
    for what in ("training", "whole trial"):
        slow, fast = rows[f"through the backbone: {what}, s"], rows[f"warm: {what}, s"]
        rows[f"through the backbone / warm: {what}"] = ratios([value for value in slow for _ in range(3)], fast)
    _views(options, bench)
    return rows


def _views(options: argparse.Namespace, bench: Bench) -> None:
    """Compare accuracies with augmentation: through the backbone it is new each epoch, views come again."""
    augment = {"flip": True, "random_resized_crop": 0.4}
    for repeat in range(options.repeats if options.views else 0):
        bench.run("augmented, through the backbone", trial(options, repeat, augment), None)
        for views in options.views:
            bench.run(f"augmented, {views} views", trial(options, repeat, augment), bench.features("views", views))


if __name__ == "__main__":
    main()
