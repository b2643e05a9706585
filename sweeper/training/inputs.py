"""What a trial learns from: the batches of each epoch, and the network that takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import nn

from sweeper.config.hyperparameters import AugmentConfig, TrialConfig
from sweeper.data.batches import Batch, DeviceImages
from sweeper.modeling.autoencoder import Autoencoder
from sweeper.modeling.classifier import Classifier

Network: TypeAlias = Classifier | Autoencoder
"""What takes images normalised with its `mean` and `std`."""


SMALLEST_SIDE = 8  # pixels, as image_size


@dataclass(frozen=True)
class TrialData:
    """The images of a trial, on its device, and the names of their classes."""

    train: DeviceImages
    val: DeviceImages
    classes: tuple[str, ...]

    def steps(self, batch_size: int) -> int:
        """Return the number of optimizer steps in an epoch."""
        return self.train.steps(batch_size)


class Inputs(Protocol):
    """Batches for one network: images for a whole one, or features of them for what learns on those."""

    @property
    def network(self) -> nn.Module:
        """What the inputs go through."""

    @property
    def config(self) -> TrialConfig:
        """The trial's configuration."""

    @property
    def prepared_s(self) -> float:
        """Seconds spent so far on what is made once, for this trial and later ones: the features of images."""

    def train(self, epoch: int) -> Iterator[Batch]:
        """Yield the training batches of an epoch, counted from 1. All chance comes from seed and epoch."""

    def training_size(self, epoch: int) -> int:
        """Return the side of the training images of an epoch, in pixels."""

    def val(self) -> Iterator[Batch]:
        """Yield the validation batches."""


@dataclass(frozen=True)
class ImageInputs:
    """Images for a whole network, in a trial of `epochs`; `before` of them were trained by the one it goes on from."""

    network: Network
    data: TrialData
    config: TrialConfig
    seed: int
    epochs: int
    before: int = 0

    @property
    def prepared_s(self) -> float:
        return 0.0

    def training_size(self, epoch: int) -> int:
        own, all_own = epoch - self.before, self.epochs - self.before
        return training_size(self.config.image_size, self.config.progressive_resizing, own, all_own)

    def train(self, epoch: int) -> Iterator[Batch]:
        config, model, size = self.config, self.network, self.training_size(epoch)
        return self.data.train.train_batches(
            config.batch_size,
            sized(config.augment, size / config.image_size),
            size,
            model.mean,
            model.std,
            seed=self.seed,
            epoch=epoch,
            sampling=config.class_balance.sampling,
        )

    def val(self) -> Iterator[Batch]:
        config, model = self.config, self.network
        return self.data.val.eval_batches(config.batch_size, config.image_size, model.mean, model.std)


GROWING = 2 / 3
"""Part of the epochs in which training images grow."""

SIZES = 8
"""Parts in which image_size is counted, so that few different sizes occur."""

HALVINGS = 32
"""From four times this side on sizes are its multiples, since most networks halve their images five times."""


def training_size(image_size: int, first: float, epoch: int, epochs: int) -> int:
    """Return the side of the training images in an epoch, counted from 1, when they begin with a part of their size."""
    growing = int(epochs * GROWING)
    if first == 1 or epoch > growing:
        return image_size
    part = first + (1 - first) * (epoch - 1) / growing
    unit = HALVINGS if image_size >= 4 * HALVINGS else max(1, image_size // SIZES)
    return min(image_size, max(SMALLEST_SIDE, round(image_size * part / unit) * unit))


def sized(augment: AugmentConfig, scale: float) -> AugmentConfig:
    """Return changes to images whose border is as wide beside images `scale` times as large."""
    return augment.model_copy(update={"crop_padding": round(augment.crop_padding * scale)}) if scale < 1 else augment
