"""Heads of one shape as one network: each layer's weights stacked, its products made by one batched call.

The products of `bmm` and `baddbmm` do not depend on how many members there are, so that on the CPU a member's
numbers are the same in any company.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sweeper.data.transfer import to_device

State = dict[str, Tensor]


class FusedHead:
    """Copies of the weights of K heads that `build_head` made, differing in nothing but rates of dropout.

    Args:
        heads: Of the members; `write_back` gives them what was learned.
        seeds: Of the members' dropout masks.
    """

    def __init__(self, heads: Sequence[nn.Sequential], seeds: Sequence[int]):
        self._heads = heads
        self.parameters: State = _stacked([dict(head.named_parameters()) for head in heads])
        self.buffers: State = _stacked([dict(head.named_buffers()) for head in heads])
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        device = next(iter(self.parameters.values())).device
        dropout = CpuDropout if device.type == "cpu" else DeviceDropout
        self._dropout = [dropout([_rate(head, name) for head in heads], device) for name in _linears(heads[0])]
        self.generators = dropout.generators(seeds, device)

    def __call__(self, inputs: Tensor, *, training: bool) -> Tensor:
        """Return the class scores [K, B, C] of features [K, B, D]."""
        values = inputs
        for (name, layer), dropout in zip(_linears(self._heads[0]).items(), self._dropout, strict=True):
            if training and any(dropout.rates):
                values = values * dropout.masks(values, self.generators)
            values = self._multiplied(values, name)
            if layer != "_out":
                values = self._activated(self._normalized(values, f"norm{layer}", training), f"activation{layer}")
        return values

    def _multiplied(self, values: Tensor, name: str) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"].transpose(1, 2), self.parameters.get(f"{name}.bias")
        return torch.bmm(values, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), values, weight)

    def _normalized(self, values: Tensor, name: str, training: bool) -> Tensor:
        layer = getattr(self._heads[0], name, None)
        if layer is None:
            return values
        weight, bias = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        if isinstance(layer, nn.LayerNorm):
            even = functional.layer_norm(values, layer.normalized_shape, eps=layer.eps)
            return even * weight.unsqueeze(1) + bias.unsqueeze(1)
        mean, variance = self.buffers[f"{name}.running_mean"], self.buffers[f"{name}.running_var"]
        if training:
            self.buffers[f"{name}.num_batches_tracked"] += 1
        if values.device.type == "cpu":  # sums over a batch are rounded otherwise when there are more channels
            rows = zip(values, mean, variance, weight, bias, strict=True)
            return torch.stack([functional.batch_norm(*row, training, eps=layer.eps) for row in rows])
        members, batch, width = values.shape
        channels = values.transpose(0, 1).reshape(batch, members * width)
        even = functional.batch_norm(
            channels, mean.view(-1), variance.view(-1), weight.view(-1), bias.view(-1), training, eps=layer.eps
        )
        return even.view(batch, members, width).transpose(0, 1)

    def _activated(self, values: Tensor, name: str) -> Tensor:
        activated: Tensor = getattr(self._heads[0], name)(values)
        return activated

    @torch.no_grad()
    def write_back(self) -> None:
        """Give every head its weights and batch statistics as they are now."""
        for name, stacked in (self.parameters | self.buffers).items():
            own = [
                head.get_parameter(name) if name in self.parameters else head.get_buffer(name) for head in self._heads
            ]
            torch._foreach_copy_(own, list(stacked))


class CpuDropout:
    """Each member's masks come from its own random numbers, as those of `nn.Dropout` do."""

    def __init__(self, rates: Sequence[float], device: torch.device):  # noqa: ARG002 (there is but one CPU)
        self.rates = rates

    @staticmethod
    def generators(seeds: Sequence[int], device: torch.device) -> list[torch.Generator]:
        return [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def masks(self, values: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return what values [K, B, D] are multiplied with."""
        masks = torch.empty(values.shape)
        for mask, rate, generator in zip(masks, self.rates, generators, strict=True):
            if rate:
                mask.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
            else:
                mask.fill_(1)
        return masks


class DeviceDropout:
    """All masks come from one generator: two launches for all members, where their own would take two for each."""

    def __init__(self, rates: Sequence[float], device: torch.device):
        self.rates = rates
        self._kept = to_device(np.array([[[1 - rate]] for rate in rates], dtype=np.float32), device)

    @staticmethod
    def generators(seeds: Sequence[int], device: torch.device) -> list[torch.Generator]:
        seed = int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1)
        return [torch.Generator(device).manual_seed(seed)]

    def masks(self, values: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Return what values [K, B, D] are multiplied with."""
        masks = torch.empty(values.shape, device=values.device)
        return masks.bernoulli_(self._kept, generator=generators[0]).div_(self._kept)


def _stacked(states: Sequence[State]) -> State:
    return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


def _linears(head: nn.Sequential) -> dict[str, str]:
    """Return the linear layers' names in order, each with what its fellow layers' names end in."""
    return {name: name.removeprefix("linear") for name, _ in head.named_children() if name.startswith("linear")}


def _rate(head: nn.Sequential, linear: str) -> float:
    dropout = getattr(head, linear.replace("linear", "dropout"), None)
    return 0.0 if dropout is None else float(dropout.p)
