"""How long a network takes on the CPU of this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from sweeper.config.task import ReconstructionConfig
from sweeper.modeling.autoencoder import build_autoencoder
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.registry import load_model_files
from sweeper.results import TrialSpec

TIMED = 8  # images
MOST_SHARED = 8
"""Threads that a pass of a few images is shared by, at most, however many there are."""


def forward_seconds(spec: TrialSpec, classes: int, model_files: Sequence[Path]) -> float:
    """Return the seconds that an image takes through a trial's network, with new weights, on an idle machine.

    The time of one thread is measured, and taken to be shared by up to eight: not that of the clock, since what runs
    beside it now is not to count, nor that of several threads, which use up processor time where one waits for another.
    Raises what building and running the network raises.
    """
    load_model_files(model_files)
    side, network = spec.config.image_size, _built(spec, classes).eval().to(memory_format=torch.channels_last)
    images = torch.zeros(TIMED, 3, side, side).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), _one_thread() as threads:
        network(images)
        began = time.process_time()
        network(images)
        return (time.process_time() - began) / min(threads, MOST_SHARED) / TIMED


@contextmanager
def _one_thread() -> Iterator[int]:
    """Let torch compute with one thread, and yield how many it had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _built(spec: TrialSpec, classes: int) -> nn.Module:
    config = spec.config.model_copy(update={"pretrained": False})
    if isinstance(spec.task, ReconstructionConfig):
        return build_autoencoder(config)
    return build_classifier(config, classes)
