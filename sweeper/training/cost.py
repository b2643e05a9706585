"""What a trained classifier costs: its size, and how long one image takes."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import nn

from sweeper.training.device import autocast, synchronize

WARM_UP, TIMED = 5, 30  # passes


def count_parameters(model: nn.Module) -> int:
    """Return how many numbers the model has learned, frozen ones included; buffers are not counted."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.inference_mode()
def latency_ms(model: nn.Module, image_size: int, device: torch.device) -> float:
    """Return the milliseconds from one image [1, 3, S, S] on the device to its logits there.

    One image at a time, as a service gets them, in the precision of validation: the median of 30 passes after
    5 that do not count, so that a hiccup of the machine weighs little. Preparing the image and bringing it to
    the device are not in it. Trials that run beside this one slow it down: for figures to compare, run a
    study with one worker.
    """
    model.eval()
    image = torch.zeros(1, 3, image_size, image_size, device=device).contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(WARM_UP + TIMED):
        synchronize(device)
        started = time.perf_counter()
        with autocast(device):
            model(image)
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 1000 * median(seconds[WARM_UP:])
