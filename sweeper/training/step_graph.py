"""Training steps as CUDA graphs: hundreds of launches recorded once and then repeated by a single one.

A small network's step takes a GPU less time than the host needs to launch its operations one by one. A graph repeats
the operations of one step on the same memory: forward, backward, update and metrics. Batches are made outside of it and
copied in, so that images, order and augmentation are those of any other step.

What the host decides during a step is recorded too and never decided again. So a network's own code must not decide
anything from step to step. That of torch and timm does not, but for some attention of timm's, which in evaluation mode
keeps a tensor until the mode changes: a graph would read its memory when it belongs to others. Code of others is
recorded only where that is asked for.
"""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import fields

import torch
from packaging.version import Version
from torch import Tensor, nn

from sweeper.config.sweep import CudaGraphs
from sweeper.data.batches import Batch
from sweeper.training.memory import free_memory
from sweeper.training.rates import reads_rates_on_device
from sweeper.training.step import TrainingStep
from sweeper.training.task import Meter

logger = logging.getLogger(__name__)

WARM_UP = 8
"""Batches of one shape that go through operation by operation first: libraries choose their algorithms meanwhile."""

FREQUENT = 1 / 3
"""The part of all batches that are alike but for their shape."""

KNOWN = ("torch", "timm", "torchvision", "sweeper")
"""Packages whose modules do the same in every step."""

CACHE = "attention_bias_cache"
"""Of timm's LeViT, TinyViT, EfficientFormer and EfficientViT (MSRA)."""

REGISTERS_GENERATORS = Version(torch.__version__) < Version("2.14")
"""Later ones find out for themselves which random numbers are drawn while they record."""

Shape = tuple[Hashable, ...]
Work = Callable[[Batch], Tensor]
"""What is done with a batch: device work alone, that changes tensors in place and returns one."""


class Steps:
    """Makes the training steps of a trial, as graphs where that is possible.

    Args:
        step: What a step is; its forward pass says whether it is recorded.
    """

    def __init__(self, step: TrainingStep) -> None:
        self._step = step
        self._recorder: Recorder | None = None
        if step.forward.recorded:
            self._recorder = Recorder(step.recorded, step.forward.device, WARM_UP, may_record=self._may_record)

    def _may_record(self) -> bool:
        return not keeps_tensors_aside(self._step.forward.network)

    @property
    def recorded(self) -> bool:
        """Whether there is a graph."""
        return self._recorder is not None and self._recorder.recorded

    @property
    def meter(self) -> Meter:
        return self._step.meter

    def __call__(self, batch: Batch) -> Tensor:
        """Make a step and return the losses, [B]; those of a graph change with its next step. Raises DoesNotFit."""
        if self._recorder is None or not self._in_one_piece(batch):
            return self._step(batch)
        if self._step.rates is not None:
            self._step.rates.refresh()
        return self._recorder(batch, otherwise=self._step, kind=self._step.forward.compiled)

    def _in_one_piece(self, batch: Batch) -> bool:
        count = len(batch.labels)
        return self._step.micro_batches.size(count) == count

    def restart(self) -> None:
        """Record anew, since from now on other parts of the network learn, or images have another size."""
        if self._recorder is not None:
            self._recorder.restart()

    def drop(self) -> bool:
        """Go on without graphs, since their memory is needed; return whether there were any."""
        return self._recorder is not None and self._recorder.drop()

    def close(self) -> None:
        """Give back the memory of the graphs."""
        if self._recorder is not None:
            self._recorder.close()


class Recorder:
    """Does work on batches of a few shapes, and records it for each shape that comes often enough.

    Args:
        work: What is recorded.
        device: A GPU.
        warm_up: Batches of a shape that come before.
        generators: Of the random numbers that the work draws, beside the device's own.
        may_record: Whether the work can be recorded as it is now.
    """

    def __init__(
        self,
        work: Work,
        device: torch.device,
        warm_up: int,
        generators: Sequence[torch.Generator] = (),
        may_record: Callable[[], bool] = lambda: True,
    ) -> None:
        self._work = work
        self._device = device
        self._warm_up = warm_up
        self._generators = generators
        self._may_record = may_record
        self._cannot = False
        self._seen: Counter[Shape] = Counter()
        self._graphs: dict[Shape, StepGraph] = {}

    @property
    def recorded(self) -> bool:
        return bool(self._graphs)

    def __call__(self, batch: Batch, otherwise: Work, kind: Hashable = None) -> Tensor:
        """Repeat what was recorded for batches of this shape and kind of work, or do the work in the other way."""
        shape = (kind, *shape_of(batch))
        self._seen[shape] += 1
        graph = self._graphs.get(shape)
        if graph is not None:
            return graph(batch)
        result = otherwise(batch)
        if self._is_worth_it(shape) and not self._cannot and self._may_record():
            self._record(shape, batch)
        return result

    def _is_worth_it(self, shape: Shape) -> bool:
        """Return whether a shape comes often enough for a graph, which keeps the memory of a whole step.

        The short last batch of an epoch does not: it would take that memory epochs after it was counted what a trial
        takes, for one step in each.
        """
        alike = sum(count for other, count in self._seen.items() if other[0] == shape[0])
        return self._seen[shape] >= self._warm_up and self._seen[shape] >= FREQUENT * alike

    def _record(self, shape: Shape, batch: Batch) -> None:
        random = torch.cuda.get_rng_state(self._device)
        try:
            self._graphs[shape] = StepGraph(self._work, batch, self._generators)
        except RuntimeError as error:  # of whatever refuses to be recorded, or for memory: nothing was computed
            logger.warning("the training step cannot be recorded as a CUDA graph and runs without: %s", error)
            traceback.clear_frames(error.__traceback__)
            self._cannot = True
            restart_random_numbers(self._device, random)
            free_memory(self._device)

    def restart(self) -> None:
        """Forget what was recorded and which shapes have come."""
        self.close()
        self._seen.clear()

    def drop(self) -> bool:
        """Give back the memory of the graphs and record none any more; return whether there were any."""
        dropped = self.recorded
        self._cannot |= dropped
        self.close()
        return dropped

    def close(self) -> None:
        """Give back the memory of the graphs."""
        if self._graphs:
            self._graphs.clear()
            free_memory(self._device)


class StepGraph:
    """The work on one shape of batch, recorded."""

    def __init__(self, work: Work, batch: Batch, generators: Sequence[torch.Generator]) -> None:
        self._batch = Batch(*(None if tensor is None else tensor.clone() for tensor in _tensors(batch)))  # type: ignore[arg-type]
        self._graph = torch.cuda.CUDAGraph()
        if REGISTERS_GENERATORS:
            for generator in generators:
                self._graph.register_generator_state(generator)
        # Other threads of this process may meanwhile write a checkpoint or read images ahead.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._result = work(self._batch)

    def __call__(self, batch: Batch) -> Tensor:
        for place, tensor in zip(_tensors(self._batch), _tensors(batch), strict=True):
            if place is not None and tensor is not None:
                place.copy_(tensor, non_blocking=True)
        self._graph.replay()
        return self._result


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


def can_record(networks: Iterable[nn.Module], optimizer: torch.optim.Optimizer, graphs: CudaGraphs) -> bool:
    """Return whether steps through these networks are recorded: `auto` says so where all of their code is known."""
    wanted = graphs is True or (graphs == "auto" and all(map(is_known, networks)))
    return wanted and reads_rates_on_device(optimizer)


def keeps_tensors_aside(network: nn.Module) -> bool:
    """Return whether frozen parts keep tensors beside parameters and buffers, which the next change of mode frees."""
    return any(hasattr(module, CACHE) and not module.training for module in network.modules())


def is_known(network: nn.Module) -> bool:
    """Return whether all modules of a network are of packages whose code does the same in every step."""
    return all(type(module).__module__.partition(".")[0] in KNOWN for module in network.modules())
