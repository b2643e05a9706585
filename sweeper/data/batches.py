"""Batches for training and evaluation, cut and augmented on the device that trains."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sweeper.config.hyperparameters import AugmentConfig
from sweeper.data.augment import Normalize, augment_images, evaluation_images
from sweeper.data.image_set import ImageSet
from sweeper.data.listing import Split
from sweeper.data.mixing import Mix, draw_mix
from sweeper.data.placement import place_samples
from sweeper.data.sampling import epoch_order, training_bounds
from sweeper.data.splitting import Rows
from sweeper.data.transfer import to_device
from sweeper.scores.predictions import image_ids

EVALUATED_AT_ONCE = 4  # training batches, on an accelerator
EVALUATION_BYTES = 2**28  # of images, at most, of more than one training batch
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Batch:
    """Some inputs of a network and their labels, on the device.

    `inputs` are images, float32 [B, 3, S, S], normalised, in channels_last memory format, or features
    of images, float32 [B, D]; `labels` int64 [B]. Where inputs were mixed, `labels` counts with
    `mix_weight`, float32 [B], and `mixed_labels`, int64 [B], with the rest; else both are None. `mirror`
    are the features of the mirror images, where a network on features answers by both.
    """

    inputs: Tensor
    labels: Tensor
    mixed_labels: Tensor | None = None
    mix_weight: Tensor | None = None
    mirror: Tensor | None = None


class DeviceImages:
    """One split of an `ImageSet` on a device.

    The images stay on the device when they fit its free memory, and are streamed to it from the
    memory map otherwise; the batches are the same either way. `resident` decides it by force.
    `pixels` names their pixels, as those of the image set are named; `host_labels` are the labels, int64 [N],
    on the host; `ids`, uint64 [N], name their files, and are empty where the image set names none.
    """

    def __init__(
        self, image_set: ImageSet, split: Split, device: torch.device | str, *, resident: bool | None = None
    ) -> None:
        rows = image_set.splits[split]
        self.device = torch.device(device)
        self.host_labels = image_set.labels[rows]
        self.labels = torch.from_numpy(self.host_labels).to(self.device)
        self.pixels = _pixels_of(image_set, rows)
        self.ids = image_ids(image_set.paths[row] for row in rows) if image_set.paths else image_ids(())
        self._source = place_samples(image_set.images, rows, self.device, resident=resident)

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, batch_size: int) -> int:
        """Return the number of batches that `train_batches` gives."""
        return len(training_bounds(len(self), batch_size))

    def train_batches(
        self,
        batch_size: int,
        augment: AugmentConfig,
        image_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        seed: int,
        epoch: int,
        sampling: float = 0.0,
    ) -> Iterator[Batch]:
        """Yield the images of an epoch, shuffled, augmented, resized to `image_size` and normalised.

        Every image comes once, or with `sampling` as `epoch_order` draws them. All chance comes from
        (seed, epoch) and the kind of device alone, so that an epoch of a resumed trial equals that of an
        uninterrupted one. An incomplete last batch is kept; if it would have less than half its images, it
        shares equally with the batch before. `mean` and `std` are per channel, of values from 0 to 1.
        """
        host, generator = chance(seed, epoch, self.device)
        order = epoch_order(self.host_labels, sampling, host)
        bounds = training_bounds(len(self), batch_size)
        labels = self.labels.index_select(0, to_device(order, self.device))
        normalize = Normalize(mean, std, image_size, self.device)
        for (start, end), pixels in zip(bounds, self._source.take([order[a:b] for a, b in bounds]), strict=True):
            images = augment_images(pixels, augment, image_size, normalize, generator)
            mix = draw_mix(augment, end - start, image_size, host)
            yield mixed(mix, images, labels[start:end]) if mix else Batch(images, labels[start:end])

    def view_batches(
        self,
        batch_size: int,
        augment: AugmentConfig,
        image_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        seed: int,
    ) -> Iterator[Tensor]:
        """Yield every image once, in the order of the split, augmented by chance that comes from the seed alone.

        Images are not mixed here. With nothing to change they are those of `eval_batches`.
        """
        _, generator = chance(seed, 0, self.device)
        rows = [np.arange(a, min(a + batch_size, len(self))) for a in range(0, len(self), batch_size)]
        normalize = Normalize(mean, std, image_size, self.device)
        for pixels in self._source.take(rows):
            yield augment_images(pixels, augment, image_size, normalize, generator)

    def eval_batches(
        self, batch_size: int, image_size: int, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> Iterator[Batch]:
        """Yield every image once, in the order of the split, resized to `image_size` and normalised.

        `batch_size` is that of training; how many come at once is `evaluation_batch`.
        """
        rows = np.arange(len(self))
        batch_size = evaluation_batch(batch_size, image_size, self.device)
        starts = range(0, len(self), batch_size)
        normalize = Normalize(mean, std, image_size, self.device)
        for start, pixels in zip(
            starts, self._source.take([rows[start : start + batch_size] for start in starts]), strict=True
        ):
            images = evaluation_images(pixels, image_size, normalize)
            yield Batch(images, self.labels[start : start + batch_size])


def evaluation_batch(batch_size: int, image_size: int, device: torch.device) -> int:
    """Return how many images are evaluated at once by what is trained with `batch_size`.

    Without gradients nothing is kept of a layer once the next one is done: an accelerator has room for more images than
    in training, and takes as many launches for them as for fewer. On a CPU they are as many as in training.
    """
    if device.type == "cpu":
        return batch_size
    room = EVALUATION_BYTES // (3 * image_size**2 * FLOAT_BYTES)
    return max(batch_size, min(EVALUATED_AT_ONCE * batch_size, room))


def mixed(mix: Mix, inputs: Tensor, labels: Tensor) -> Batch:
    """Mix each input of a batch with its neighbour."""
    return Batch(mix.images(inputs), labels, mix.labels(labels), mix.weight_on(inputs.device))


def _pixels_of(image_set: ImageSet, rows: Rows) -> str:
    """Name the pixels of a split, in their order; empty where those of the image set have no name."""
    if not image_set.pixels:
        return ""
    return f"{image_set.pixels}-{hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()}"


def chance(seed: int, epoch: int, device: torch.device) -> tuple[np.random.Generator, torch.Generator]:
    """Return the sources of chance of an epoch: order and mixing on the host, pixels on the device.

    The host draws what it would otherwise have to wait for the device to send it.
    """
    for_host, for_device = np.random.SeedSequence((seed, epoch)).spawn(2)
    generator = torch.Generator(device)
    generator.manual_seed(int(for_device.generate_state(1, np.uint64)[0] >> 1))
    return np.random.default_rng(for_host), generator
