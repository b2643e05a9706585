"""Images that a small network can tell apart, without files."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.results import TrialSpec
from sweeper.training.inputs import TrialData

CPU = torch.device("cpu")


def colored(train: int = 60, val: int = 30, classes: int = 3, size: int = 8, noise: float = 60) -> TrialData:
    """Return noisy squares whose color is their class."""
    random = np.random.default_rng(0)
    labels = np.arange(train + val) % classes
    colors = np.eye(3)[labels % 3] * 120 + (labels // 3)[:, None] * 40
    pixels = colors[:, None, None, :] + random.normal(0, noise, (train + val, size, size, 3)) + 60
    images = ImageSet(
        images=pixels.clip(0, 255).astype(np.uint8),
        labels=labels.astype(np.int64),
        classes=tuple(f"class {number}" for number in range(classes)),
        splits={"train": np.arange(train), "val": np.arange(train, train + val)},
        digest="0" * 32,
        pixels=hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest(),
        paths=[f"{row}.png" for row in range(train + val)],
    )
    return TrialData(DeviceImages(images, "train", CPU), DeviceImages(images, "val", CPU), images.classes)


def spec_of(epochs: int = 3, number: int = 0, seed: int = 7, **changes: Any) -> TrialSpec:
    """Return a trial of timm's smallest residual network on such images."""
    base: dict[str, Any] = {
        "backbone": "test_resnet",
        "image_size": 8,
        "batch_size": 16,
        "optimizer": {"name": "adam", "lr": 0.01},
    }
    return TrialSpec(number=number, seed=seed, epochs=epochs, config=TrialConfig.model_validate({**base, **changes}))
