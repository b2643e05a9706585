"""The losses of trials that are trained at once, and the bounds of their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.batches import Batch
from sweeper.data.transfer import to_device
from sweeper.training.loss import Loss, focal


@dataclass(frozen=True)
class StackedLoss:
    """The losses of all members at once. Each has its label smoothing and its gamma, [K, 1].

    `class_weights` are [K, C], None where no member has any; `gamma` is None where no member's loss is focal.
    """

    smoothing: Tensor
    gamma: Tensor | None
    class_weights: Tensor | None

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the losses [K, B] of logits [K, B, C]; of mixed inputs, weighted between both labels."""
        surprise = -functional.log_softmax(logits, dim=2)
        if self.gamma is not None:
            surprise = focal(-surprise, self.gamma.unsqueeze(2))
        even = surprise.mean(2)

        def toward(labels: Tensor) -> Tensor:
            losses = torch.lerp(surprise.gather(2, labels.unsqueeze(2)).squeeze(2), even, self.smoothing)
            return losses if self.class_weights is None else losses * self.class_weights.gather(1, labels)

        losses = toward(batch.labels)
        if batch.mixed_labels is None or batch.mix_weight is None:
            return losses
        return batch.mix_weight * losses + (1 - batch.mix_weight) * toward(batch.mixed_labels)


def stacked_loss(losses: Sequence[Loss], device: torch.device) -> StackedLoss:
    """Stack the members' losses; a weight of 1 and a gamma of 0 leave a member's numbers as they are."""
    given = next((loss.class_weights for loss in losses if loss.class_weights is not None), None)
    weights = None
    if given is not None:
        even = torch.ones_like(given)
        weights = torch.stack([even if loss.class_weights is None else loss.class_weights for loss in losses])
    gamma, smoothing = (
        to_device(np.array(column, dtype=np.float32)[:, None], device)
        for column in ([loss.gamma for loss in losses], [loss.label_smoothing for loss in losses])
    )
    return StackedLoss(smoothing, gamma if any(loss.gamma for loss in losses) else None, weights)


def bounds_of_gradients(configs: Sequence[TrialConfig], device: torch.device) -> Tensor | None:
    """Return the largest norm of each member's gradients, [K], infinite without one; None where no member has one."""
    bounds = [config.gradient_clip for config in configs]
    if all(bound is None for bound in bounds):
        return None
    return to_device(np.array([np.inf if bound is None else bound for bound in bounds], dtype=np.float32), device)


def clip(gradients: Sequence[Tensor], bounds: Tensor) -> None:
    """Scale each member's gradients [K, ...] so that their norm together keeps its bound, [K]."""
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients])
    shares = (bounds / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1.0)  # 1e-6 as torch's clip_grad_norm_ has it
    for gradient in gradients:
        gradient.mul_(shares.view(-1, *(1 for _ in gradient.shape[1:])))
