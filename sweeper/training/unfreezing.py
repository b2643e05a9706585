"""Parts of a network that begin to learn later: the head first, then the stages of the backbone from the last one on.

A head of random weights would send random gradients into a pretrained backbone (LP-FT, arXiv 2202.10054; gradual
unfreezing, arXiv 1801.06146). Who learns in an epoch follows from its number alone, so that
a resumed trial goes on alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import Parameter

from sweeper.config.hyperparameters import UnfreezingConfig
from sweeper.modeling.classifier import Classifier
from sweeper.modeling.stages import last_stage, stages


@dataclass
class Unfreezing:
    """Parts that wait, each with the first epoch in which it learns. Parts that never learn are not among them."""

    parts: list[tuple[int, list[Parameter]]] = field(default_factory=list)

    def before_epoch(self, epoch: int) -> bool:
        """Let those learn whose turn it is, and return whether these are others than before."""
        changed = False
        for first, parameters in self.parts:
            for parameter in parameters:
                changed |= parameter.requires_grad is not (epoch >= first)
                parameter.requires_grad_(epoch >= first)
        return changed


def build_unfreezing(network: nn.Module, config: UnfreezingConfig, optimizer: torch.optim.Optimizer) -> Unfreezing:
    """Return what waits in a network whose optimizer is built already: its parameters are those that learn at last.

    torch's fused SGD takes either all momenta of a group or none, so that those of parts that wait are there from the
    beginning: a momentum of 0 gives what none gives.
    """
    if not isinstance(network, Classifier) or not (config.head_epochs or config.stage_epochs):
        return Unfreezing()
    begin = config.head_epochs + 1
    parts = [(begin + place * config.stage_epochs, part) for place, part in enumerate(_from_the_last(network.backbone))]
    for group in optimizer.param_groups:
        if isinstance(optimizer, torch.optim.SGD) and group["momentum"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return Unfreezing([(first, part) for first, part in parts if part])


def _from_the_last(backbone: nn.Module) -> list[list[Parameter]]:
    """Return what learns of each stage, the last stage first."""
    last = last_stage(backbone)
    earlier = [frozenset(names) - last for names in reversed(stages(backbone))]
    parameters = dict(backbone.named_parameters())
    parts = [[p for name, p in parameters.items() if name in names] for names in (last, *earlier)]
    return [learning for part in parts if (learning := [p for p in part if p.requires_grad])]
