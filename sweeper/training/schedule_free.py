"""Optimizers without a schedule: they train with other weights than those they are judged by.

Gradients are taken at a point between the newest weights and the average of all (Defazio et al., arXiv 2405.15682);
the average is the result. The network holds the first while it trains, and the second while it is validated and kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from schedulefree import AdamWScheduleFree
from torch import nn

from sweeper.data.batches import Batch
from sweeper.training.batch_statistics import measure_statistics
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.ranks import Ranks


def to_training(optimizer: torch.optim.Optimizer) -> None:
    """Let the network hold the weights that such an optimizer trains with."""
    if isinstance(optimizer, AdamWScheduleFree):
        optimizer.train()


def to_average(
    optimizer: torch.optim.Optimizer,
    network: nn.Module,
    batches: Iterator[Batch],
    micro_batches: MicroBatches,
    device: torch.device,
    ranks: Ranks,
) -> None:
    """Let the network hold the average of the weights, with statistics of batch normalisation that belong to it.

    Args:
        optimizer: With any other than these nothing is done.
        network: In training mode.
        batches: Of the training images; a few are taken.
        micro_batches: How many images go through the network at once.
        device: Of the network.
        ranks: Each looks at its share; the caller averages what they found.
    """
    if not isinstance(optimizer, AdamWScheduleFree):
        return
    optimizer.eval()
    measure_statistics(network, batches, micro_batches, device, ranks)
