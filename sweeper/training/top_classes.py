"""The likeliest classes of every image, gathered on the device during a pass over a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sweeper.data.batches import DeviceImages
from sweeper.scores.predictions import MOST_CLASSES, Predictions
from sweeper.scores.right import Bits, as_bits


@dataclass(frozen=True)
class TopClasses:
    """For N inputs K classes and their probabilities [..., N, K], falling, and those of the true class [..., N]."""

    classes: Tensor
    probabilities: Tensor
    true: Tensor

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Self:
        """Look at logits [..., B, C] with labels [..., B]; launches work on the device and never waits for it.

        The first class is `argmax`, the lower of equal ones, as in the confusion matrix; `topk` leaves that open.
        """
        shares = logits.softmax(-1)
        probabilities, classes = shares.topk(min(MOST_CLASSES, logits.shape[-1]), dim=-1)
        first, best = classes[..., :1], logits.argmax(-1, keepdim=True)
        classes = torch.where(classes == best, first, classes)
        classes[..., :1] = best
        return cls(classes, probabilities, shares.gather(-1, labels.unsqueeze(-1)).squeeze(-1))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Put batches one after the other."""
        return cls(
            torch.cat([part.classes for part in parts], dim=-2),
            torch.cat([part.probabilities for part in parts], dim=-2),
            torch.cat([part.true for part in parts], dim=-1),
        )

    def member(self, number: int) -> TopClasses:
        """Return those of one network of a stack."""
        return TopClasses(self.classes[number], self.probabilities[number], self.true[number])

    def predictions(self, images: DeviceImages) -> Predictions:
        """Return them on the host with the names and labels of the split that they were made of."""
        return Predictions(
            images=images.ids,
            labels=images.host_labels,
            classes=self.classes.cpu().numpy(),
            probabilities=self.probabilities.float().cpu().numpy(),
            true=self.true.float().cpu().numpy(),
        )

    def right(self, images: DeviceImages) -> Bits:
        """Return for which images the prediction is right, on the host."""
        return as_bits(self.classes[..., 0].cpu().numpy(), images.host_labels)

    def named(self, images: DeviceImages) -> Predictions | None:
        """Return the same, where the images of the split have names."""
        return self.predictions(images) if len(images.ids) == len(images) else None
