"""Learning rates that a GPU's optimizer reads from memory of its own, so that a recorded step takes today's rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class DeviceRates:
    """The rates of an optimizer's groups, beside the numbers that the schedule sets.

    Steps that are recorded and steps that are not read the same memory, and so round alike.
    """

    optimizer: torch.optim.Optimizer
    device: torch.device
    _rates: list[Tensor] = field(init=False)
    _held: list[float | None] = field(init=False)

    def __post_init__(self) -> None:
        groups = self.optimizer.param_groups
        self._rates = [torch.zeros((), device=self.device) for _ in groups]
        self._held = [None for _ in groups]

    def refresh(self) -> None:
        """Bring what has changed since the last step to the device, without waiting for it."""
        for index, group in enumerate(self.optimizer.param_groups):
            if group["lr"] != self._held[index]:
                self._held[index] = group["lr"]
                self._rates[index].fill_(group["lr"])

    @contextmanager
    def in_place(self, *, recorded: bool) -> Iterator[None]:
        """Let the optimizer take its step with them; `recorded` says to Adam that a graph is made of it."""
        before = [dict(group) for group in self.optimizer.param_groups]
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate
            if "capturable" in group:
                group["capturable"] = recorded
        try:
            yield
        finally:
            for group, values in zip(self.optimizer.param_groups, before, strict=True):
                group.update(values)


def reads_rates_on_device(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether an optimizer's step is device work alone, the rate included: torch's fused ones on a GPU."""
    return all(group.get("fused") and group["params"][0].is_cuda for group in optimizer.param_groups)
