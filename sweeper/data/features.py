"""Batches of features in place of images: a frozen backbone's output, in the same order and mixed likewise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from sweeper.config.hyperparameters import AugmentConfig
from sweeper.data.batches import Batch, chance, mixed
from sweeper.data.feature_cache import Features
from sweeper.data.mixing import Mix, draw_mix
from sweeper.data.placement import SampleReader, place_samples
from sweeper.data.sampling import epoch_order, training_bounds
from sweeper.data.transfer import to_device


class DeviceFeatures:
    """One split as features on a device, in one or several augmented views.

    A view is opened, and computed where it never was, when it is first needed.

    Args:
        labels: int64 [N], on the device.
        open_view: Gives the features of view 0, 1, ..., float32 [N, D].
        views: How many there are.
        device: Where batches are wanted.
    """

    def __init__(self, labels: Tensor, open_view: Callable[[int], Features], views: int, device: torch.device):
        self.labels = labels
        self._host_labels = labels.cpu().numpy()
        self.device = device
        self._open_view = open_view
        self._views = views
        self._placed: dict[int, SampleReader] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def train_batches(
        self, batch_size: int, augment: AugmentConfig, seed: int, epoch: int, sampling: float = 0.0
    ) -> Iterator[Batch]:
        """Yield the features of an epoch's images, as `DeviceImages` draws and orders them by (seed, epoch).

        Epoch e takes view e - 1, and the first one again after the last. Mixup blends features.
        """
        host, _ = chance(seed, epoch, self.device)
        order = epoch_order(self._host_labels, sampling, host)
        bounds = training_bounds(len(self), batch_size)
        labels = self.labels.index_select(0, to_device(order, self.device))
        source = self.view((epoch - 1) % self._views)
        for (start, end), features in zip(bounds, source.take([order[a:b] for a, b in bounds]), strict=True):
            mix = draw_mix(augment, end - start, 1, host)
            yield mixed(mix, features, labels[start:end]) if mix else Batch(features, labels[start:end])

    def stacked_batches(
        self,
        batch_size: int,
        augments: Sequence[AugmentConfig],
        seeds: Sequence[int],
        epoch: int,
        samplings: Sequence[float],
    ) -> Iterator[Batch]:
        """Yield the same for several trials at once: inputs [K, B, D], labels [K, B].

        All of them mix, or none.
        """
        hosts = [chance(seed, epoch, self.device)[0] for seed in seeds]
        orders = np.stack(
            [epoch_order(self._host_labels, part, host) for part, host in zip(samplings, hosts, strict=True)]
        )
        bounds = training_bounds(len(self), batch_size)
        labels = self.labels[to_device(orders, self.device)]
        source = self.view((epoch - 1) % self._views)
        for (start, end), features in zip(
            bounds, source.take([orders[:, a:b].reshape(-1) for a, b in bounds]), strict=True
        ):
            inputs, count = features.view(len(seeds), end - start, -1), end - start
            drawn = [draw_mix(augment, count, 1, host) for augment, host in zip(augments, hosts, strict=True)]
            mixes = [mix for mix in drawn if mix]
            yield stack_mixed(mixes, inputs, labels[:, start:end]) if mixes else Batch(inputs, labels[:, start:end])

    def eval_batches(self, batch_size: int, mirror: DeviceFeatures | None = None) -> Iterator[Batch]:
        """Yield every image's features once, in the order of the split, with those of its mirror image if given."""
        rows = np.arange(len(self))
        starts = range(0, len(self), batch_size)
        wanted = [rows[start : start + batch_size] for start in starts]
        mirrored = mirror.view(0).take(wanted) if mirror else repeat(None, len(wanted))
        for start, features, reflected in zip(starts, self.view(0).take(wanted), mirrored, strict=True):
            yield Batch(features, self.labels[start : start + batch_size], mirror=reflected)

    def view(self, number: int) -> SampleReader:
        """Return one view on the device."""
        if number not in self._placed:
            self._placed[number] = place_samples(self._open_view(number), np.arange(len(self)), self.device)
        return self._placed[number]


def stack_mixed(mixes: Sequence[Mix], inputs: Tensor, labels: Tensor) -> Batch:
    """Blend each trial's features [K, B, D] with their neighbours in its own batch."""
    weight = torch.stack([mix.weight_on(inputs.device) for mix in mixes])
    blended = torch.lerp(inputs.roll(1, 1), inputs, weight.unsqueeze(-1))
    return Batch(blended, labels, labels.roll(1, 1), weight)
