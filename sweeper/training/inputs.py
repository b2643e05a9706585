"""What a trial learns from: the batches of each epoch, and the network that takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from torch import nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.batches import Batch, DeviceImages
from sweeper.modeling.autoencoder import Autoencoder
from sweeper.modeling.classifier import Classifier

Network: TypeAlias = Classifier | Autoencoder
"""What takes images normalised with its `mean` and `std`."""


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
    """Batches for one network: images for a whole one, or features of them for a head alone."""

    @property
    def network(self) -> nn.Module:
        """What the inputs go through."""

    def train(self, epoch: int) -> Iterator[Batch]:
        """Yield the training batches of an epoch, counted from 1. All chance comes from seed and epoch."""

    def val(self) -> Iterator[Batch]:
        """Yield the validation batches."""


@dataclass(frozen=True)
class ImageInputs:
    """Images for a whole network."""

    network: Network
    data: TrialData
    config: TrialConfig
    seed: int

    def train(self, epoch: int) -> Iterator[Batch]:
        config, model = self.config, self.network
        return self.data.train.train_batches(
            config.batch_size,
            config.augment,
            config.image_size,
            model.mean,
            model.std,
            seed=self.seed,
            epoch=epoch,
            sampling=config.class_balance.sampling,
        )

    def val(self) -> Iterator[Batch]:
        config, model = self.config, self.network
        return self.data.val.eval_batches(config.batch_size, config.image_size, model.mean, model.std)
