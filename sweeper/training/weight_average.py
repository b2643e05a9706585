"""An exponential moving average of a network's weights, which is often better than the last of them.

The average of many noisy steps lies closer to the minimum than any of them (Polyak and Juditsky, SIAM Journal on
Control and Optimization 30, 1992; for deep networks Tarvainen and Valpola, arXiv 1703.01780). As in timm's ModelEmaV3
with its warm-up: the first steps are forgotten sooner, since the weights that training begins with are worth nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sweeper.config.hyperparameters import largest_ema


class WeightAverage:
    """The average of a network's weights and buffers after every step.

    Attributes:
        network: A network with the averages, in evaluation mode.
    """

    def __init__(self, live: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(live).requires_grad_(False).eval()
        self._decay = decay
        self._steps = 0
        self._live, self._averages = _weights(live), _weights(self.network)
        self._float = [tensor.is_floating_point() for tensor in self._live]

    def update(self) -> None:
        """Take in the weights after a step. Numbers that are no averages, such as counts of batches, are copied."""
        decay = min(self._decay, largest_ema(self._steps))
        self._steps += 1
        torch._foreach_lerp_(self._of(self._averages, True), self._of(self._live, True), 1 - decay)
        if counts := self._of(self._averages, False):
            torch._foreach_copy_(counts, self._of(self._live, False))

    def _of(self, tensors: list[Tensor], is_float: bool) -> list[Tensor]:
        return [tensor for tensor, this in zip(tensors, self._float, strict=True) if this is is_float]

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.network.state_dict(), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["model"])
        self._steps = state["steps"]


def _weights(network: nn.Module) -> list[Tensor]:
    """Return a network's weights and buffers, those that two layers share only once."""
    found = {id(tensor): tensor for tensor in network.state_dict(keep_vars=True).values()}
    return [tensor.detach() for tensor in found.values()]
