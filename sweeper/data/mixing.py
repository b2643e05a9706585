"""Mixup and CutMix: each image is blended with, or patched from, its neighbour in the batch.

Mixup blends features just as well; CutMix needs pixels.

The batch is shuffled already, so that the neighbour is as random a partner as any. Weights and
patches are drawn on the host, which then never waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sweeper.config.hyperparameters import AugmentConfig
from sweeper.data.transfer import to_device

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed.

    `weight`, [B], is the share of the image itself. `box`, int64 [4, B], holds top, bottom, left and
    right of the patch from the neighbour; None blends the whole images instead.
    """

    weight: Weights
    box: npt.NDArray[np.int64] | None

    def weight_on(self, device: torch.device) -> Tensor:
        """Return the weights as float32 [B] on a device."""
        return to_device(self.weight.astype(np.float32), device)

    def images(self, images: Tensor) -> Tensor:
        """Mix float32 [B, 3, S, S], or blend features [B, D]."""
        neighbours = images.roll(1, 0)
        if self.box is None:
            weight = self.weight_on(images.device).view(-1, *(1 for _ in images.shape[1:]))
            return torch.lerp(neighbours, images, weight)
        return torch.where(_patch(self.box, images), neighbours, images)

    def labels(self, labels: Tensor) -> Tensor:
        """Return the labels, [B], of the neighbours."""
        return labels.roll(1, 0)


def draw_mix(augment: AugmentConfig, count: int, size: int, rng: np.random.Generator) -> Mix | None:
    """Draw how a batch is mixed, or None where mixing is off; with both kinds on, either is as likely."""
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(augment, kind)]
    if not kinds:
        return None
    if kinds[int(rng.integers(len(kinds)))] == "mixup":
        return Mix(rng.beta(augment.mixup, augment.mixup, count), box=None)
    return draw_cutmix(augment.cutmix, count, size, rng)


def draw_cutmix(alpha: float, count: int, size: int, rng: np.random.Generator) -> Mix:
    """Draw patches as in arXiv 1905.04899: of 1 - weight of the area, about a place anywhere, clipped.

    The weight is then that of the area which is really left.
    """
    side = np.sqrt(1 - rng.beta(alpha, alpha, count)) * size
    centre = rng.uniform(0, size, (2, count))
    start, end = np.round(centre - side / 2), np.round(centre + side / 2)
    (top, left), (bottom, right) = np.clip(start, 0, size), np.clip(end, 0, size)
    weight = 1 - (bottom - top) * (right - left) / size**2
    return Mix(weight, box=np.stack([top, bottom, left, right]).astype(np.int64))


def _patch(box: npt.NDArray[np.int64], images: Tensor) -> Tensor:
    """Return bool [B, 1, S, S]: true inside the patch."""
    top, bottom, left, right = to_device(box, images.device).unsqueeze(-1)
    places = torch.arange(images.shape[-1], device=images.device)
    rows = (places >= top) & (places < bottom)
    columns = (places >= left) & (places < right)
    return torch.logical_and(rows[:, None, :, None], columns[:, None, None, :])
