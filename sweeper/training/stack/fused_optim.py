"""One optimizer step for the stacked weights of several members, each with its own rate, decay and momenta.

The rules are those of torch's Adam, AdamW and SGD, in whose form each member's state is read and
written back, so that a checkpoint does not show how a trial was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sweeper.config.optimizer import AdamConfig, OptimizerConfig, SgdConfig
from sweeper.data.transfer import to_device

Rates = npt.NDArray[np.float64]

CPU_BLOCK = 1 << 16
"""Numbers that a rule goes over at a time on the CPU, so that they stay in its cache between operations."""


class FusedOptimizer(Protocol):
    """Steps all members at once."""

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Make the next step of the epoch with gradients [K, ...]."""

    def write_back(self) -> None:
        """Give each member's optimizer its state as it is now."""


def build_fused_optimizer(
    configs: Sequence[OptimizerConfig],
    optimizers: Sequence[torch.optim.Optimizer],
    heads: Sequence[nn.Module],
    parameters: dict[str, Tensor],
    rates: Rates,
    steps: int,
) -> FusedOptimizer:
    """Build the optimizer of one epoch.

    Args:
        configs: Of the members, of one kind.
        optimizers: The members' own, which hold their state.
        heads: The members' own, whose parameters those optimizers know.
        parameters: Stacked, [K, ...] each.
        rates: Learning rates, [steps of the epoch, K].
        steps: Made before this epoch.
    """
    weights = [StackedWeight(name, value, optimizers, heads) for name, value in parameters.items()]
    if isinstance(configs[0], AdamConfig):
        return FusedAdam([config for config in configs if isinstance(config, AdamConfig)], weights, rates, steps)
    return FusedSgd([config for config in configs if isinstance(config, SgdConfig)], weights, rates)


class StackedWeight:
    """One weight of all members, [K, n], with what their optimizers keep beside it."""

    def __init__(
        self, name: str, value: Tensor, optimizers: Sequence[torch.optim.Optimizer], heads: Sequence[nn.Module]
    ):
        self.value = value.detach().view(len(value), -1)
        self._own = [head.get_parameter(name) for head in heads]
        self._optimizers = optimizers
        self.decay = np.array([_decay_of(o, own) for o, own in zip(optimizers, self._own, strict=True)])
        self.kept: dict[str, Tensor] = {}

    def recall(self, name: str) -> None:
        """Read a state of the members, zero where they have none yet."""
        found = [o.state[own].get(name) for o, own in zip(self._optimizers, self._own, strict=True)]
        rows = [torch.zeros_like(own) if row is None else row for row, own in zip(found, self._own, strict=True)]
        self.kept[name] = torch.stack([row.detach().reshape(-1) for row in rows])

    def write_back(self, steps: int | None) -> None:
        """Give every member's optimizer its rows, and the number of its steps where it counts them."""
        copies = {name: _rows_apart(rows) for name, rows in self.kept.items()}
        for member, (optimizer, own) in enumerate(zip(self._optimizers, self._own, strict=True)):
            state: dict[str, Any] = {name: rows[member].view_as(own) for name, rows in copies.items()}
            if steps is not None:
                state["step"] = torch.full((), float(steps), dtype=torch.float32, device=own.device)
            optimizer.state[own] = state

    def blocks(self, gradient: Tensor) -> list[tuple[Tensor, Tensor, dict[str, Tensor]]]:
        """Return views of weight, gradient and state, [K, at most this many] each."""
        members, count = self.value.shape
        width = max(1, CPU_BLOCK // members) if self.value.device.type == "cpu" else count
        gradient = gradient.reshape(members, count)
        return [
            (
                self.value[:, start : start + width],
                gradient[:, start : start + width],
                {name: rows[:, start : start + width] for name, rows in self.kept.items()},
            )
            for start in range(0, count, width)
        ]


class EpochSteps:
    """Which step of the epoch it is: on a GPU counted there, so that a recorded step knows."""

    def __init__(self, device: torch.device):
        self._on_host = 0
        self._on_device = None if device.type == "cpu" else torch.zeros(1, dtype=torch.int64, device=device)

    def row(self, table: Tensor) -> Tensor:
        """Return today's row of a table [steps, ...]."""
        return table[self._on_host] if self._on_device is None else table.index_select(0, self._on_device)[0]

    def advance(self) -> None:
        if self._on_device is None:
            self._on_host += 1
        else:
            self._on_device += 1


class FusedAdam:
    """Adam (arXiv 1412.6980) and AdamW (arXiv 1711.05101), with AMSGrad where the members have it."""

    def __init__(self, configs: Sequence[AdamConfig], weights: list[StackedWeight], rates: Rates, steps: int):
        self._weights = weights
        self._decoupled, self._amsgrad = configs[0].name == "adamw", configs[0].amsgrad
        self._steps = steps + len(rates)
        device = weights[0].value.device
        first, second = (np.array([config.betas[i] for config in configs]) for i in (0, 1))
        count = np.arange(steps + 1, steps + len(rates) + 1)[:, None]
        self._steps_of_epoch = EpochSteps(device)
        self._size = _column(-rates / (1 - first**count), device)
        self._spread = _column(1 / np.sqrt(1 - second**count), device)
        self._decay = [_column(weight.decay, device) for weight in weights]
        self._keep = [_column(1 - rates * weight.decay, device) for weight in weights]
        self._new_first, self._second = _column(1 - first, device), _column(second, device)
        self._new_second, self._eps = _column(1 - second, device), _column([config.eps for config in configs], device)
        for weight in weights:
            for name in ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if self._amsgrad else [])):
                weight.recall(name)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        now = self._steps_of_epoch
        size, spread = now.row(self._size), now.row(self._spread)
        for weight, gradient, decay, keep in zip(self._weights, gradients, self._decay, self._keep, strict=True):
            for value, slope, kept in weight.blocks(gradient):
                self._update(value, slope, kept, decay, now.row(keep), size, spread)
        now.advance()

    def _update(
        self,
        value: Tensor,
        slope: Tensor,
        kept: dict[str, Tensor],
        decay: Tensor,
        keep: Tensor,
        size: Tensor,
        spread_factor: Tensor,
    ) -> None:
        if self._decoupled:
            value.mul_(keep)
        else:
            slope = torch.addcmul(slope, value, decay)
        kept["exp_avg"].lerp_(slope, self._new_first)
        spread = kept["exp_avg_sq"].mul_(self._second).addcmul_(slope * self._new_second, slope)
        if self._amsgrad:
            spread = torch.maximum(kept["max_exp_avg_sq"], spread, out=kept["max_exp_avg_sq"])
        divisor = spread.sqrt().mul_(spread_factor).add_(self._eps)
        value.addcdiv_(kept["exp_avg"] * size, divisor)

    def write_back(self) -> None:
        for weight in self._weights:
            weight.write_back(self._steps)


class FusedSgd:
    """Stochastic gradient descent; of all members with momentum, or of none."""

    def __init__(self, configs: Sequence[SgdConfig], weights: list[StackedWeight], rates: Rates):
        self._weights = weights
        self._moves, self._nesterov = configs[0].momentum > 0, configs[0].nesterov
        device = weights[0].value.device
        self._steps_of_epoch = EpochSteps(device)
        self._size = _column(-rates, device)
        self._decay = [_column(weight.decay, device) for weight in weights]
        self._momentum = _column([config.momentum for config in configs], device)
        for weight in weights if self._moves else []:
            weight.recall("momentum_buffer")

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        size = self._steps_of_epoch.row(self._size)
        for weight, gradient, decay in zip(self._weights, gradients, self._decay, strict=True):
            for value, slope, kept in weight.blocks(gradient):
                slope = torch.addcmul(slope, value, decay)
                if self._moves:
                    moved = kept["momentum_buffer"].mul_(self._momentum).add_(slope)
                    slope = torch.addcmul(slope, moved, self._momentum) if self._nesterov else moved
                value.addcmul_(slope, size)
        self._steps_of_epoch.advance()

    def write_back(self) -> None:
        for weight in self._weights if self._moves else []:
            weight.write_back(None)


def _rows_apart(rows: Tensor) -> list[Tensor]:
    """Return a copy of each row, in memory of its own; on a GPU all of them by one launch."""
    copies = [torch.empty_like(row) for row in rows]
    torch._foreach_copy_(copies, list(rows))
    return copies


def _decay_of(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> float:
    for group in optimizer.param_groups:
        if any(other is parameter for other in group["params"]):
            return float(group["weight_decay"])
    raise KeyError("the optimizer does not know this parameter")


def _column(values: Any, device: torch.device) -> Tensor:
    """Return float32 [..., K, 1] of values [..., K]."""
    return to_device(np.asarray(values, dtype=np.float32), device).unsqueeze(-1)
