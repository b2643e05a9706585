"""One training step: the gradients of a batch, the update, and what it adds to the metrics."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sweeper.data.batches import Batch
from sweeper.training.forward import Forward
from sweeper.training.gradients import Losses, Scored, StepStart, compute_gradients, whole_gradients
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.ranks import ALONE, Ranks
from sweeper.training.rates import DeviceRates, reads_rates_on_device
from sweeper.training.task import Meter


@dataclass
class TrainingStep:
    """Makes steps with one network and its optimizer; `meter` collects what the network made of the batches."""

    forward: Forward
    losses_of: Losses
    optimizer: torch.optim.Optimizer
    micro_batches: MicroBatches
    meter: Meter
    gradient_clip: float | None = None
    ranks: Ranks = ALONE
    rates: DeviceRates | None = field(init=False)
    _start: StepStart = field(init=False)

    def __post_init__(self) -> None:
        self._start = StepStart(self.forward.network, self.forward.device)
        on_device = reads_rates_on_device(self.optimizer)
        self.rates = DeviceRates(self.optimizer, self.forward.device) if on_device else None

    def __call__(self, batch: Batch) -> Tensor:
        """Make a step, in parts where memory demands it, and return the losses, [B]. Raises DoesNotFit, RankLost."""
        scored = compute_gradients(self.forward, batch, self.losses_of, self.micro_batches, self._start, self.ranks)
        if self.rates is not None:
            self.rates.refresh()
        return self._finish(batch, scored, recorded=False)

    def recorded(self, batch: Batch) -> Tensor:
        """Make the same step with device work alone, as a graph records it: no way back when memory runs out."""
        scored = whole_gradients(self.forward, batch, self.losses_of)
        return self._finish(batch, scored, recorded=True)

    def _finish(self, batch: Batch, scored: Scored, *, recorded: bool) -> Tensor:
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.forward.network.parameters(), self.gradient_clip)
        with self.rates.in_place(recorded=recorded) if self.rates is not None else nullcontext():
            self.optimizer.step()
        self.meter.update(scored.outputs, batch, scored.losses)
        return scored.losses
