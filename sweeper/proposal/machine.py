"""What the machine can do: its device, and how many images a second it trains with."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch
from timm.models import is_model
from torch import nn

from sweeper.errors import ModelError
from sweeper.modeling.backbones import build_backbone
from sweeper.modeling.hub import cached_sizes
from sweeper.training.device import autocast, described, open_device

FOR_TESTS = "test_"
"""How the names of timm's tiny networks begin, which no task needs."""

STEPS = 3
"""Steps that are timed, after one that is not."""


@dataclass(frozen=True)
class MachineFacts:
    """A machine.

    Attributes:
        device: What trains, in words.
        gpu: Whether that is a GPU.
        cores: How many processor cores there are.
        weights: Architectures whose pretrained weights are in the hub's cache here, with their tags, small ones first.
    """

    device: str
    gpu: bool
    cores: int
    weights: tuple[str, ...]


def look_at_machine(wanted: str = "auto") -> MachineFacts:
    """Raises DeviceError where the wanted device is not there."""
    device = open_device(wanted, 0)
    return MachineFacts(described(device), device.type == "cuda", os.cpu_count() or 1, _weights_here())


def _weights_here() -> tuple[str, ...]:
    sizes = cached_sizes()
    known = [name for name in sizes if is_model(name.partition(".")[0]) and not name.startswith(FOR_TESTS)]
    return tuple(sorted(known, key=lambda name: (sizes[name], name)))


def images_per_second(backbone: str, image_size: int, batch_size: int, wanted: str = "auto") -> float:
    """Train a network for a few steps on random images and return how many it takes a second. Raises ModelError."""
    device = open_device(wanted, 0)
    built = build_backbone(backbone, pretrained=False, drop_rate=0.0, image_size=image_size)
    network = nn.Sequential(built.module, nn.Linear(built.features, 10)).to(device)
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    images = torch.randn(batch_size, 3, image_size, image_size, device=device).to(memory_format=torch.channels_last)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)
    try:
        for step in range(STEPS + 1):
            if step == 1:
                _wait(device)
                started = time.perf_counter()
            with autocast(device):
                loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        _wait(device)
    except RuntimeError as error:
        raise ModelError(f"{backbone} cannot be trained at {image_size} pixels on {device}: {error}") from error
    return STEPS * batch_size / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
