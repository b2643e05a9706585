"""The gradients of one batch, whole or in parts: both give the same, except for batch normalisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweeper.data.batches import Batch
from sweeper.training.device import autocast
from sweeper.training.forward import Forward
from sweeper.training.micro_batch import MicroBatches, Parts
from sweeper.training.ranks import ALONE, Ranks

Losses = Callable[[Tensor, Batch], Tensor]
"""Takes outputs float32 [B, ...] of a network and their batch, gives the loss of each image, [B]."""


@dataclass(frozen=True)
class Scored:
    """What a network made of a batch before the update: outputs float32 [B, ...], losses float32 [B]."""

    outputs: Tensor
    losses: Tensor


def compute_gradients(
    forward: Forward,
    batch: Batch,
    losses_of: Losses,
    micro_batches: MicroBatches,
    start: StepStart,
    ranks: Ranks = ALONE,
) -> Scored:
    """Set the gradients of the mean loss of a batch, in as many parts as memory demands.

    Each part's loss counts by its share of the images, whatever the weights of their classes. Of several ranks each
    takes its share of the batch, and gets the gradients, outputs and losses of the whole. Raises DoesNotFit, RankLost.
    """
    images, network = len(batch.labels), forward.network
    mine, count = part_of(batch, ranks.share(images)), images * ranks.copies(images)

    def attempt(cut: Parts) -> Scored:
        network.zero_grad(set_to_none=True)
        done = [_backward(forward, part_of(mine, part), losses_of, count) for part in to_the_end(cut, mine)]
        if len(done) == 1:
            return done[0]
        return Scored(torch.cat([part.outputs for part in done]), torch.cat([part.losses for part in done]))

    def rewind() -> None:
        network.zero_grad(set_to_none=True)
        start.restore()

    start.save()
    scored = micro_batches.fit("training", ranks.smallest_share(images), attempt, rewind)
    ranks.sum_gradients(network)
    return Scored(ranks.gathered(scored.outputs, images), ranks.gathered(scored.losses, images))


def to_the_end(cut: Parts, batch: Batch) -> Parts:
    """Let the last part reach the end of a batch, which may have one image more than another rank's share."""
    return [*cut[:-1], slice(cut[-1].start, len(batch.labels))]


def whole_gradients(forward: Forward, batch: Batch, losses_of: Losses) -> Scored:
    """Set the gradients of the mean loss of a batch that is known to fit."""
    forward.network.zero_grad(set_to_none=True)
    return _backward(forward, batch, losses_of, len(batch.labels))


def _backward(forward: Forward, part: Batch, losses_of: Losses, count: int) -> Scored:
    """Add the gradients of a part of a batch of `count` images."""
    with autocast(forward.device):
        outputs = forward(part.inputs)
        losses = losses_of(outputs.float(), part)
    (losses.sum() / count).backward()  # type: ignore[no-untyped-call]
    return Scored(outputs.detach().float(), losses.detach())


def part_of(batch: Batch, part: slice) -> Batch:
    """Return some images of a batch. They are mixed already, with neighbours from the whole of it."""
    if part == slice(0, len(batch.labels)):
        return batch
    mixed, weight = batch.mixed_labels, batch.mix_weight
    return Batch(
        batch.inputs[part],
        batch.labels[part],
        None if mixed is None else mixed[part],
        None if weight is None else weight[part],
    )


class StepStart:
    """What forward passes change, as it was before a step: random numbers and batch statistics."""

    def __init__(self, network: nn.Module, device: torch.device):
        self.device = device
        buffers = list(network.buffers())
        # Copied in one go for each kind of number; one by one they would cost a GPU a launch each.
        self._kinds = [[item for item in buffers if item.dtype == kind] for kind in {item.dtype for item in buffers}]
        self._copies = [[torch.empty_like(item) for item in kind] for kind in self._kinds]
        self._random: list[Tensor] = []

    def save(self) -> None:
        for live, copy in zip(self._kinds, self._copies, strict=True):
            torch._foreach_copy_(copy, live)
        self._random = [torch.get_rng_state()]
        if self.device.type == "cuda":
            self._random.append(torch.cuda.get_rng_state(self.device))
        elif self.device.type == "mps":
            self._random.append(torch.mps.get_rng_state())

    def restore(self) -> None:
        for live, copy in zip(self._kinds, self._copies, strict=True):
            torch._foreach_copy_(live, copy)
        torch.set_rng_state(self._random[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self._random[1], self.device)
        elif self.device.type == "mps":
            torch.mps.set_rng_state(self._random[1])
