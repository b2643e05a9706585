"""Trials of small networks on images that they can distinguish, without files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import ObjectiveConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.data.splitting import Rows
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec
from sweeper.training.conditions import Conditions
from sweeper.training.inputs import TrialData
from sweeper.training.trainer import train

CPU = torch.device("cpu")
TIMED = {"time/epoch_s", "images_per_s", "memory/peak_mb"}
OF_FEATURES = {"time/features_s"}


def colored(
    train: int = 60,
    val: int = 30,
    classes: int = 3,
    size: int = 8,
    noise: float = 60,
    device: torch.device = CPU,
    resident: bool | None = None,
) -> TrialData:
    """Return noisy squares whose color is their class."""
    return squares(np.arange(train + val) % classes, train, classes, size, noise, device, resident)


def squares(
    labels: Rows,
    train: int,
    classes: int,
    size: int = 8,
    noise: float = 60,
    device: torch.device = CPU,
    resident: bool | None = None,
) -> TrialData:
    """Return such squares with these labels, [N], the first ones for training."""
    images = square_images(labels, train, classes, size, noise)
    placed_train, placed_val = (DeviceImages(images, split, device, resident=resident) for split in ("train", "val"))
    return TrialData(placed_train, placed_val, images.classes)


def square_images(labels: Rows, train: int, classes: int, size: int = 8, noise: float = 60) -> ImageSet:
    """Return the same squares as one set of images."""
    random = np.random.default_rng(0)
    colors = np.eye(3)[labels % 3] * 120 + (labels // 3)[:, None] * 40
    pixels = colors[:, None, None, :] + random.normal(0, noise, (len(labels), size, size, 3)) + 60
    return ImageSet(
        images=pixels.clip(0, 255).astype(np.uint8),
        labels=labels.astype(np.int64),
        classes=tuple(f"class {number}" for number in range(classes)),
        splits={"train": np.arange(train), "val": np.arange(train, len(labels))},
        digest="0" * 32,
        pixels=hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest(),
        paths=[f"{row}.png" for row in range(len(labels))],
    )


def spec_of(epochs: int = 3, number: int = 0, seed: int = 7, **changes: Any) -> TrialSpec:
    """Return a trial of timm's smallest residual network on such images."""
    base: dict[str, Any] = {
        "backbone": "test_resnet",
        "image_size": 8,
        "batch_size": 16,
        "optimizer": {"name": "adam", "lr": 0.01},
    }
    return TrialSpec(number=number, seed=seed, epochs=epochs, config=TrialConfig.model_validate({**base, **changes}))


def run(
    spec: TrialSpec,
    folder: Path,
    data: TrialData | None = None,
    on_epoch: Callable[[EpochMetrics], bool] = lambda metrics: False,
    **options: Any,
) -> tuple[TrialOutcome, list[EpochMetrics]]:
    """Train a trial and return its outcome and the epochs it reported."""
    seen: list[EpochMetrics] = []

    def report(metrics: EpochMetrics) -> bool:
        seen.append(metrics)
        return on_epoch(metrics)

    settings_: dict[str, Any] = {"objective": ObjectiveConfig(), "patience": None, "device": CPU, **options}
    outcome = train(spec, TrialFolder(folder), Conditions(data=data or colored(), **settings_), report)
    return outcome, seen


def comparable(history: list[EpochMetrics]) -> list[dict[str, float]]:
    """Return the metrics that do not depend on the clock or the machine."""
    return [
        {name: value for name, value in point.values.items() if name not in TIMED | OF_FEATURES} for point in history
    ]
