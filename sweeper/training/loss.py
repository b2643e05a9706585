"""The loss of training images: cross-entropy or focal, each image weighted by its class.

Validation has no part in this: its loss is the plain cross-entropy of every trial, so that trials compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from sweeper.config.hyperparameters import (
    ClassBalanceConfig,
    EffectiveNumberConfig,
    FocalConfig,
    InverseConfig,
    TrialConfig,
)
from sweeper.data.batches import Batch
from sweeper.data.sampling import class_shares
from sweeper.data.splitting import Rows
from sweeper.data.transfer import to_device

SMALLEST_MISS = 1e-7
"""Of 1 - p, whose powers below 1 have no slope at 0."""


@dataclass(frozen=True)
class Loss:
    """Gives the loss of each image of a batch.

    `class_weights`, float32 [C] on the device, have the mean 1 over the images of an epoch. An image's
    weight then does not depend on its company, so that the parts of a batch give what the whole gives.
    """

    label_smoothing: float = 0.0
    gamma: float = 0.0
    class_weights: Tensor | None = None

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the losses, float32 [B], of logits [B, C]; of mixed images, weighted between both labels."""
        losses = self._toward(logits, batch.labels)
        if batch.mixed_labels is None or batch.mix_weight is None:
            return losses
        return batch.mix_weight * losses + (1 - batch.mix_weight) * self._toward(logits, batch.mixed_labels)

    def _toward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.gamma:
            surprise = focal(functional.log_softmax(logits, dim=1), self.gamma)
            sharp = surprise.gather(1, labels.unsqueeze(1)).squeeze(1)
            losses = torch.lerp(sharp, surprise.mean(1), self.label_smoothing)
        else:
            losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
        return losses if self.class_weights is None else losses * self.class_weights[labels]


def focal(log_probabilities: Tensor, gamma: float | Tensor) -> Tensor:
    """Return -(1 - p)^gamma log p of every class (Lin et al., arXiv 1708.02002); gamma 0 is cross-entropy."""
    miss = (-torch.expm1(log_probabilities)).clamp(min=SMALLEST_MISS)
    return -log_probabilities * miss**gamma


def build_loss(config: TrialConfig, labels: Rows, classes: int, device: torch.device) -> Loss:
    """Build the loss of a trial, from the labels [N] of its training images."""
    balance = config.class_balance
    weights = class_weights(balance, np.bincount(labels, minlength=classes))
    return Loss(
        config.label_smoothing,
        balance.loss.gamma if isinstance(balance.loss, FocalConfig) else 0.0,
        None if weights is None else to_device(weights, device),
    )


def class_weights(balance: ClassBalanceConfig, counts: Rows) -> npt.NDArray[np.float32] | None:
    """Return the weight of each class, [C], by the training images it has, [C]; None where all weigh the same.

    What sampling and loss make of a class together is the goal: the same for every class (inverse), or
    n / E of its n images with the effective number E = (1 - beta^n) / (1 - beta) (Cui et al., arXiv
    1901.05555). The loss does the part of it that the sampling leaves.
    """
    match balance.weights:
        case InverseConfig():
            goal = (counts > 0).astype(np.float64)
        case EffectiveNumberConfig(beta=beta):
            goal = counts * (1 - beta) / np.maximum(1 - beta**counts, 1 - beta)
        case _:
            return None
    shares = class_shares(counts, balance.sampling)
    weights: npt.NDArray[np.float64] = np.divide(goal / goal.sum(), shares, out=np.zeros(len(counts)), where=shares > 0)
    return weights.astype(np.float32)
