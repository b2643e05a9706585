"""What a trial's network is to do: the one thing in which trials of different tasks differ for the trainer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor, nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.batches import Batch
from sweeper.modeling.backbones import Backbone
from sweeper.paths import TrialFolder
from sweeper.training.inputs import Network
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.ranks import ALONE, Ranks
from sweeper.training.top_classes import TopClasses

Exhibit = npt.NDArray[Any]
"""What an epoch shows beside its numbers, of the same shape in every epoch: a confusion matrix, for one."""


@dataclass(frozen=True)
class Validation:
    """The metrics of a pass over the validation images, what it shows, and what it says of each image's class."""

    values: dict[str, float]
    exhibit: Exhibit
    top: TopClasses | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The values by the names that they have as metrics of an epoch."""
        return {f"val/{name}": value for name, value in self.values.items()}


class Meter(Protocol):
    """Collects the metrics of training passes; `update` never waits for the device and keeps nothing on the host."""

    def reset(self) -> None:
        """Forget what was counted, before a pass."""

    def update(self, outputs: Tensor, batch: Batch, losses: Tensor) -> None:
        """Count a batch: what the network made of it, float32 [B, ...], and the loss of each image, [B]."""

    def compute(self) -> dict[str, float]:
        """Return the metrics of all that was counted; `loss` is among them."""


class Task(Protocol):
    """How a network is built, what it loses, by what it is judged and what it leaves to look at."""

    def build(self, config: TrialConfig, backbone: Backbone | None = None) -> Network:
        """Build a trial's network on the CPU, on a backbone that is there already or a new one. Raises ModelError."""

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the loss that training lowers, of each image, [B], from outputs float32 [B, ...]."""

    def meter(self, device: torch.device) -> Meter:
        """Return what collects the metrics of a training pass."""

    def validate(
        self,
        network: nn.Module,
        batches: Iterable[Batch],
        device: torch.device,
        micro_batches: MicroBatches,
        ranks: Ranks = ALONE,
    ) -> Validation:
        """Judge a network in inference mode by the validation images. Raises DoesNotFit, RankLost."""

    def shows(self, epoch: int) -> bool:
        """Return whether the exhibit of this epoch is kept whatever it is worth, not only if first, best or last."""

    def keep(self, exhibit: Exhibit, name: str, folder: TrialFolder) -> None:
        """Write an exhibit among the artifacts of a trial."""
