"""What the machine can do: its device, its room, and how many images a second it trains with."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from timm.models import is_model
from torch import Tensor, nn

from sweeper.allowance import available_bytes, usable_cores
from sweeper.config.sweep import Precision
from sweeper.data.out_of_memory import is_memory
from sweeper.errors import ModelError
from sweeper.modeling.backbones import Backbone, build_backbone
from sweeper.modeling.halves import cut
from sweeper.modeling.hub import cached_sizes
from sweeper.processor import computes_bfloat16
from sweeper.training.convolution import small_maps
from sweeper.training.device import autocast, computing_in, described, open_device, place, synchronize
from sweeper.training.memory import free_memory

FOR_TESTS = "test_"
"""How the names of timm's tiny networks begin, which no task needs."""

CLASSES = 10
STEPS = 3
"""Steps that are timed, after one that is not."""


@dataclass(frozen=True)
class MachineFacts:
    """A machine.

    Attributes:
        device: What trains, in words.
        gpu: Whether that is a GPU with CUDA.
        cpu: Whether that is the CPU.
        cores: How many processor cores there are.
        weights: Architectures whose pretrained weights are in the hub's cache here, with their tags, small ones first.
        free_memory: Of the machine, in bytes.
        free_disk: Where studies are kept, in bytes.
        precision: In which networks are best trained.
    """

    device: str
    gpu: bool
    cpu: bool
    cores: int
    weights: tuple[str, ...]
    free_memory: int
    free_disk: int
    precision: Precision = "auto"


@dataclass(frozen=True)
class StageSpeed:
    """How the last stage of a network learns from stored values.

    Attributes:
        images_per_s: In training steps.
        value_bytes: That the values of an image take.
    """

    images_per_s: float
    value_bytes: int


@dataclass(frozen=True)
class Timer:
    """Times a network by its name, at an image size in pixels and with a batch size.

    Attributes:
        whole: How many images a second the whole network is trained with. Raises ModelError.
        last_stage: How its last stage learns; None where it cannot be trained on stored values.
        in_auto: The same as `whole`, in the precision `auto`: from it the time of forward passes of frozen networks is
            estimated, which ONNX Runtime computes in float32 on a CPU. Raises ModelError.
    """

    whole: Callable[[str, int, int], float]
    last_stage: Callable[[str, int, int], StageSpeed | None]
    in_auto: Callable[[str, int, int], float]


def look_at_machine(wanted: str = "auto") -> MachineFacts:
    """Raises DeviceError where the wanted device is not there."""
    device = open_device(wanted, 0)
    return MachineFacts(
        described(device),
        gpu=device.type == "cuda",
        cpu=device.type == "cpu",
        cores=usable_cores(),
        weights=_weights_here(),
        free_memory=available_bytes(),
        free_disk=shutil.disk_usage(Path.cwd()).free,
        precision="bfloat16" if device.type == "cpu" and computes_bfloat16() else "auto",
    )


def _weights_here() -> tuple[str, ...]:
    sizes = cached_sizes()
    known = [name for name in sizes if is_model(name.partition(".")[0]) and not name.startswith(FOR_TESTS)]
    return tuple(sorted(known, key=lambda name: (sizes[name], name)))


def stopwatch(wanted: str = "auto", precision: Precision = "auto") -> Timer:
    """Return what times networks on a device of this machine, each once; as they are trained in that precision."""
    device = open_device(wanted, 0)
    whole = cache(partial(_whole, device, precision))
    in_auto = whole if precision == "auto" else cache(partial(_whole, device, "auto"))
    return Timer(whole, cache(partial(_last_stage, device, precision)), in_auto)


def _whole(device: torch.device, precision: Precision, backbone: str, image_size: int, batch_size: int) -> float:
    built = _built(backbone, image_size)
    network = nn.Sequential(built.module, nn.Linear(built.features, CLASSES))
    images = torch.randn(batch_size, 3, image_size, image_size).to(memory_format=torch.channels_last)
    with computing_in(precision):
        return _images_per_s(backbone, network, images, device)


def _last_stage(
    device: torch.device, precision: Precision, backbone: str, image_size: int, batch_size: int
) -> StageSpeed | None:
    try:
        built = _built(backbone, image_size)
        halves = cut(built.module, image_size)
        network = nn.Sequential(halves.learning, nn.Linear(built.features, CLASSES))
        values = torch.randn(batch_size, halves.width)
        with computing_in(precision):
            return StageSpeed(_images_per_s(backbone, network, values, device), values[0].nbytes)
    except ModelError:
        return None


def _built(backbone: str, image_size: int) -> Backbone:
    return build_backbone(backbone, False, image_size)


def _images_per_s(backbone: str, network: nn.Module, batch: Tensor, device: torch.device) -> float:
    """Train a network for a few steps on a batch, or on as large a part of it as fits in memory. Raises ModelError."""
    network, batch = place(network, device), batch.to(device)
    while True:
        try:
            return _timed(network, batch, device)
        except RuntimeError as error:
            if not is_memory(error) or len(batch) == 1:
                shape = tuple(batch.shape)
                raise ModelError(f"{backbone} cannot be trained on batches {shape} on {device}: {error}") from error
            traceback.clear_frames(error.__traceback__)  # they hold the activations
        batch = batch[: len(batch) // 2].clone()  # a trial is cut likewise
        free_memory(device)


def _timed(network: nn.Module, batch: Tensor, device: torch.device) -> float:
    """Return how many images a second a network is trained with. Raises RuntimeError."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    labels = torch.zeros(len(batch), dtype=torch.long, device=device)
    for step in range(STEPS + 1):
        if step == 1:
            synchronize(device)
            started = time.perf_counter()
        with autocast(device), small_maps(device):
            loss = nn.functional.cross_entropy(network(batch), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    synchronize(device)
    return STEPS * len(batch) / (time.perf_counter() - started)
