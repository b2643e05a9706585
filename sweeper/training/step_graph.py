"""Training steps as CUDA graphs: hundreds of launches recorded once and then repeated by a single one.

A small network's step takes a GPU less time than the host needs to launch its operations one by one. A graph repeats
the operations of one step on the same memory: forward, backward, update and metrics. Batches are made outside of it and
copied in, so that images, order and augmentation are those of any other step.

What the host decides during a step is recorded too and never decided again. So a network's own code must not decide
anything from step to step. That of torch and timm does not; code of others is recorded only where that is asked for.
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from dataclasses import fields

import torch
from torch import Tensor, nn

from sweeper.config.sweep import CudaGraphs
from sweeper.data.batches import Batch
from sweeper.training.memory import free_memory
from sweeper.training.step import TrainingStep
from sweeper.training.task import Meter

logger = logging.getLogger(__name__)

WARM_UP = 8
"""Batches of one shape that go through operation by operation first: libraries choose their algorithms meanwhile."""

KNOWN = ("torch", "timm", "torchvision", "sweeper")
"""Packages whose modules do the same in every step."""

Shape = tuple[tuple[int, ...] | None, ...]


class Steps:
    """Makes the training steps of a trial, as graphs where that is possible.

    Args:
        step: What a step is.
        graphs: Whether graphs are recorded; `auto` where the network's code is known.
    """

    def __init__(self, step: TrainingStep, graphs: CudaGraphs) -> None:
        self._step = step
        self._wanted = graphs is True or (graphs == "auto" and is_known(step.forward.network))
        self._wanted = self._wanted and step.rates is not None
        self._seen: Counter[Shape] = Counter()
        self._graphs: dict[Shape, StepGraph] = {}

    @property
    def recorded(self) -> bool:
        """Whether there is a graph."""
        return bool(self._graphs)

    @property
    def meter(self) -> Meter:
        return self._step.meter

    def __call__(self, batch: Batch) -> Tensor:
        """Make a step and return the losses, [B]; those of a graph change with its next step. Raises DoesNotFit."""
        shape = shape_of(batch)
        graph = self._graphs.get(shape)
        if graph is not None:
            return graph(batch)
        losses = self._step(batch)
        self._seen[shape] += 1
        if self._wanted and self._seen[shape] == WARM_UP and self._in_one_piece(batch):
            self._record(shape, batch)
        return losses

    def _in_one_piece(self, batch: Batch) -> bool:
        count = len(batch.labels)
        return self._step.micro_batches.size(count) == count and not self._step.forward.compiled

    def _record(self, shape: Shape, batch: Batch) -> None:
        device = self._step.forward.device
        random = torch.cuda.get_rng_state(device)
        try:
            self._graphs[shape] = StepGraph(self._step, batch)
        except RuntimeError as error:  # of whatever refuses to be recorded, or for memory: nothing was computed
            logger.warning("the training step cannot be recorded as a CUDA graph and runs without: %s", error)
            traceback.clear_frames(error.__traceback__)
            self._wanted = False
            restart_random_numbers(device, random)
            free_memory(device)

    def close(self) -> None:
        """Give back the memory of the graphs."""
        if self._graphs:
            self._graphs.clear()
            free_memory(self._step.forward.device)


class StepGraph:
    """The step of one shape of batch, recorded."""

    def __init__(self, step: TrainingStep, batch: Batch) -> None:
        self._rates = step.rates
        self._batch = Batch(*(None if tensor is None else tensor.clone() for tensor in _tensors(batch)))  # type: ignore[arg-type]
        self._graph = torch.cuda.CUDAGraph()
        # Other threads of this process may meanwhile write a checkpoint or read images ahead.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._losses = step.recorded(self._batch)

    def __call__(self, batch: Batch) -> Tensor:
        for place, tensor in zip(_tensors(self._batch), _tensors(batch), strict=True):
            if place is not None and tensor is not None:
                place.copy_(tensor, non_blocking=True)
        if self._rates is not None:
            self._rates.refresh()
        self._graph.replay()
        return self._losses


def restart_random_numbers(device: torch.device, state: Tensor) -> None:
    """Let a GPU's random numbers go on from a state; after a graph that was recorded in vain it refuses to give any."""
    index = torch.cuda.current_device() if device.index is None else device.index
    clean = torch.Generator(device).graphsafe_get_state()
    torch.cuda.default_generators[index].graphsafe_set_state(clean)
    torch.cuda.set_rng_state(state, device)


def _tensors(batch: Batch) -> list[Tensor | None]:
    return [getattr(batch, field.name) for field in fields(batch)]


def shape_of(batch: Batch) -> Shape:
    """Return what two batches have in common that one graph can take."""
    return tuple(None if tensor is None else tuple(tensor.shape) for tensor in _tensors(batch))


def is_known(network: nn.Module) -> bool:
    """Tell whether all modules of a network are of packages whose code does the same in every step."""
    return all(type(module).__module__.partition(".")[0] in KNOWN for module in network.modules())
