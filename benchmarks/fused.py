"""Trials a second of head trials that are trained together, beside the same trials one by one.

    python -m benchmarks.fused [--device cuda] [--members 1 8 32]

The features are random numbers in clusters, as many and as wide as asked for, and lie in the feature cache
already; no driver and no MLflow stand beside. Both ways are run in turn, with the same seeds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from benchmarks.measurements import Measurement, Result, Rows, Section, ratios
from sweeper.config.hyperparameters import AugmentConfig, TrialConfig
from sweeper.config.sweep import FeaturesConfig, ObjectiveConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.feature_cache import FeatureCache, FeatureKey, Features
from sweeper.data.image_set import ImageSet
from sweeper.modeling.backbones import Backbone
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialSpec
from sweeper.training.conditions import Conditions
from sweeper.training.features import FeatureMaker, FrozenBackbone, FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.micro_batch import Limits
from sweeper.training.stack.fused import Together, train_together
from sweeper.training.trainer import train

RATIO = "together / one by one"


def main() -> None:
    options = arguments()
    with TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    title = f"{options.epochs} epochs on {options.images} features of {options.width}, hidden {options.hidden}"
    shown = [Measurement(name, "", values, at_least=demand(name, options.device)) for name, values in rows.items()]
    Result("fused", f"{options.images:,} random features of {options.width} values").add(
        Section(f"{title}, {options.device}", shown)
    )


def demand(name: str, device: str) -> float | None:
    """Return what a ratio should reach: not slower on a CPU, 8 times as fast at 32 members on a GPU."""
    if not name.endswith(RATIO):
        return None
    if device == "cpu":
        return 1.0
    return 8.0 if name.startswith("32 ") else None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--images", type=int, default=5000, help="training images; a tenth as many to validate on")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--hidden", type=int, nargs="*", default=[], help="sizes of the hidden layers")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


class Clusters(FrozenFeatures):
    """Features about a centre for each class, in place of a backbone's."""

    def __init__(self, folder: Path, options: argparse.Namespace):
        super().__init__(FeatureCache(folder), FeaturesConfig(), torch.device(options.device))
        self._width, self._labels = options.width, np.arange(options.images) % options.classes
        self._centres = np.random.default_rng(0).normal(size=(options.classes, options.width))
        backbone = Backbone(nn.Identity(), options.width, (0.5,) * 3, (0.5,) * 3)
        self._frozen = FrozenBackbone(backbone, {"backbone": "clusters", "image_size": 8})

    def backbone(self, _config: TrialConfig) -> FrozenBackbone:
        return self._frozen

    def prepare(self, images: DeviceImages) -> None:
        """Put the features of a split into the cache."""
        maker = FeatureMaker(self._frozen, images, AugmentConfig(), self._device, Limits(), None)
        self._cache.open(maker.key(0), self.fill)

    def fill(self, key: FeatureKey) -> Iterator[Features]:
        noise = np.random.default_rng(key.seed).normal(scale=6.0, size=(key.rows, self._width))
        yield (self._centres[self._labels[: key.rows]] + noise).astype(np.float32)


def images(options: argparse.Namespace) -> TrialData:
    """Return black images with labels: only their number matters."""
    count, validated = options.images, options.images // 10
    images = ImageSet(
        images=np.zeros((count + validated, 8, 8, 3), dtype=np.uint8),
        labels=np.concatenate([np.arange(count), np.arange(validated)]) % options.classes,
        classes=tuple(map(str, range(options.classes))),
        splits={"train": np.arange(count), "val": np.arange(count, count + validated)},
        digest="0" * 32,
        pixels="black",
    )
    train, val = (DeviceImages(images, split, options.device) for split in ("train", "val"))
    return TrialData(train, val, images.classes)


def trials(options: argparse.Namespace, count: int) -> list[TrialSpec]:
    """Return trials that differ in rate, decay and dropout."""
    specs = []
    for number in range(count):
        config = TrialConfig.model_validate(
            {
                "backbone": "clusters",
                "pretrained": "clusters",
                "trainable": "head",
                "image_size": 8,
                "batch_size": options.batch_size,
                "head": {"hidden": options.hidden, "dropout": 0.1 * (number % 3)},
                "weight_decay": 1e-4 * number,
                "optimizer": {"name": "adamw", "lr": 1e-4 * (number + 1)},
                "scheduler": "cosine",
            }
        )
        specs.append(TrialSpec(number=number, seed=number, epochs=options.epochs, config=config))
    return specs


def measure(options: argparse.Namespace, root: Path) -> Rows:
    data, features = images(options), Clusters(root / "features", options)
    features.prepare(data.train)
    features.prepare(data.val)
    rows: Rows = {}
    for repeat in range(options.repeats + 1):
        for members in options.members:
            for name, run in (("one by one", one_by_one), ("together", together)):
                started = time.perf_counter()
                run(options, members, data, features, root / f"{repeat}-{members}-{name}")
                spent = time.perf_counter() - started
                if repeat:  # the first one warms up
                    rows.setdefault(f"{members} members, {name}: trials/s", []).append(members / spent)
    for members in options.members:
        fast, slow = (rows[f"{members} members, {name}: trials/s"] for name in ("together", "one by one"))
        rows[f"{members} members: {RATIO}"] = ratios(fast, slow)
    return rows


def one_by_one(
    options: argparse.Namespace, members: int, data: TrialData, features: FrozenFeatures, root: Path
) -> None:
    for spec in trials(options, members):
        train(
            spec,
            TrialFolder(root / str(spec.number)),
            Conditions(data, ObjectiveConfig(), None, torch.device(options.device), features=features),
            lambda _: False,
        )


def together(options: argparse.Namespace, members: int, data: TrialData, features: FrozenFeatures, root: Path) -> None:
    shared = Together(
        data=data,
        objective=ObjectiveConfig(),
        patience=None,
        device=torch.device(options.device),
        features=features,
        report=go_on,
    )
    group = [(spec, TrialFolder(root / str(spec.number))) for spec in trials(options, members)]
    for _ in train_together(group, shared):
        pass


def go_on(_number: int, _metrics: EpochMetrics) -> bool:
    return False


if __name__ == "__main__":
    main()
