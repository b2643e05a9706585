"""The statistics of batch normalisation, measured anew for weights that no step of a training has led to.

An average of weights gives other activations than any of the networks it was made of (Izmailov et al.,
arXiv 1803.05407, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sweeper.data.batches import Batch
from sweeper.training.device import autocast
from sweeper.training.gradients import part_of
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.ranks import Ranks

STEPS = 10
"""Batches of a training from which statistics are measured anew."""


@contextmanager
def measured_anew(norms: Sequence[_BatchNorm]) -> Iterator[Callable[[int], None]]:
    """Give layers the mean over all batches that go through them in the block, by their numbers of images.

    Gives a function that is told how many images the next batch has: those of a short one count no more than others.
    The layers are left in training mode.
    """
    momenta, seen = [norm.momentum for norm in norms], 0
    for norm in norms:
        norm.reset_running_stats()
        norm.train()

    def next_batch(images: int) -> None:
        nonlocal seen
        seen += images
        for norm in norms:
            norm.momentum = images / max(1, seen)

    try:
        yield next_batch
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def measure_statistics(
    network: nn.Module, batches: Iterator[Batch], micro_batches: MicroBatches, device: torch.device, ranks: Ranks
) -> None:
    """Measure the statistics of a network from a few batches; those of frozen parts, which are constants, stay.

    Args:
        network: In training mode.
        batches: Of the training images; the first STEPS are taken.
        micro_batches: How many images go through the network at once.
        device: Of the network.
        ranks: Each looks at its share; the caller averages what they found.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    norms = [norm for norm in norms if norm.training and norm.track_running_stats]
    if not norms:
        return
    with measured_anew(norms) as next_batch, autocast(device):
        for batch in islice(batches, STEPS):
            mine = part_of(batch, ranks.share(len(batch.labels)))
            inputs = mine.inputs[: micro_batches.size(len(mine.labels))]
            next_batch(len(inputs))
            network(inputs)
