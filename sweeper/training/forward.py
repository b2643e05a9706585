"""The forward pass of a training step: operation by operation, or by code that was compiled for this network.

Compiled code saves a GPU memory traffic between operations and, where the whole step is not recorded as a CUDA graph
anyway, the launch of every single operation. Compiling takes longer than many a trial, though, so whether a kind of
trial gains from it is measured once and remembered (`training/compiling.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sweeper.training.convolution import small_maps

logger = logging.getLogger(__name__)


@dataclass
class Forward:
    """Puts the inputs of a training step, [B, ...], through a network; `recorded` says that steps become CUDA graphs.

    Only batches of the size that `compile` was called with go through compiled code: an incomplete batch and the parts
    of one that does not fit would each be compiled anew.
    """

    network: nn.Module
    device: torch.device
    recorded: bool = False
    cannot_compile: bool = field(default=False, init=False)
    _compiled: Callable[[Tensor], Tensor] | None = field(default=None, init=False)
    _batch_size: int = field(default=0, init=False)

    @property
    def compiled(self) -> bool:
        return self._compiled is not None

    def compile(self, batch_size: int) -> None:
        """Let whole batches go through compiled code from now on; the next one is compiled first."""
        torch.compiler.reset()  # what was compiled for networks of other trials counts against a limit
        mode = "reduce-overhead" if self.device.type == "cuda" and not self.recorded else "default"
        self._compiled, self._batch_size = torch.compile(self.network, dynamic=False, mode=mode), batch_size

    def plain(self) -> None:
        """Go through the network operation by operation again."""
        self._compiled = None

    def close(self) -> None:
        """Give back what compiled code and its CUDA graphs hold."""
        if self._compiled is not None:
            self.plain()
            torch.compiler.reset()

    def __call__(self, inputs: Tensor) -> Tensor:
        if self._compiled is not None and len(inputs) == self._batch_size:
            try:
                return self._run_compiled(self._compiled, inputs)
            except torch._dynamo.exc.TorchDynamoException as error:  # before anything was computed
                logger.warning("the network cannot be compiled and is trained without: %s", error)
                self.cannot_compile = True
                self.plain()
        with small_maps(self.device):
            return self.network(inputs)  # type: ignore[no-any-return]

    def _run_compiled(self, compiled: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        if self.device.type == "cuda" and not self.recorded:  # the tensors of the step before may be overwritten
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return compiled(inputs)
