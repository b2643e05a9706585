"""Heads of one shape as one network: each layer's weights stacked, its products made by one batched call.

The products of `bmm` and `baddbmm` do not depend on how many members there are, so that on the CPU a member's
numbers are the same in any company.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

State = dict[str, Tensor]


class FusedHead:
    """Copies of the weights of K heads that `build_head` made, differing in nothing but rates of dropout.

    Args:
        heads: Of the members; `write_back` gives them what was learned.
        generators: Of the members' dropout masks, on their device.
    """

    def __init__(self, heads: Sequence[nn.Sequential], generators: Sequence[torch.Generator]):
        self._heads = heads
        self._generators = generators
        self.parameters: State = _stacked([dict(head.named_parameters()) for head in heads])
        self.buffers: State = _stacked([dict(head.named_buffers()) for head in heads])
        for parameter in self.parameters.values():
            parameter.requires_grad_()
        self._dropout = [[_rate(head, name) for head in heads] for name in _linears(heads[0])]

    def __call__(self, inputs: Tensor, *, training: bool) -> Tensor:
        """Return the class scores [K, B, C] of features [K, B, D]."""
        values = inputs
        for (name, layer), rates in zip(_linears(self._heads[0]).items(), self._dropout, strict=True):
            if training and any(rates):
                values = values * self._masks(values, rates)
            values = self._multiplied(values, name)
            if layer != "_out":
                values = self._activated(self._normalized(values, f"norm{layer}", training), f"activation{layer}")
        return values

    def _multiplied(self, values: Tensor, name: str) -> Tensor:
        weight, bias = self.parameters[f"{name}.weight"].transpose(1, 2), self.parameters.get(f"{name}.bias")
        return torch.bmm(values, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), values, weight)

    def _masks(self, values: Tensor, rates: Sequence[float]) -> Tensor:
        """Draw each member's mask from its own random numbers, as `nn.Dropout` does on the CPU."""
        masks = torch.empty(values.shape, device=values.device)
        for mask, rate, generator in zip(masks, rates, self._generators, strict=True):
            if rate:
                mask.bernoulli_(1 - rate, generator=generator).div_(1 - rate)
            else:
                mask.fill_(1)
        return masks

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
        for member, head in enumerate(self._heads):
            for name, tensor in [*head.named_parameters(), *head.named_buffers()]:
                tensor.copy_((self.parameters | self.buffers)[name][member])


def _stacked(states: Sequence[State]) -> State:
    return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


def _linears(head: nn.Sequential) -> dict[str, str]:
    """Return the linear layers' names in order, each with what its fellow layers' names end in."""
    return {name: name.removeprefix("linear") for name, _ in head.named_children() if name.startswith("linear")}


def _rate(head: nn.Sequential, linear: str) -> float:
    dropout = getattr(head, linear.replace("linear", "dropout"), None)
    return 0.0 if dropout is None else float(dropout.p)
