"""Parts of a network that begin to learn later: the head first, then the stages of the backbone from the last one on.

A head of random weights would send random gradients into a pretrained backbone (LP-FT, arXiv 2202.10054; gradual
unfreezing, arXiv 1801.06146). Who learns in an epoch follows from its number alone, so that
a resumed trial goes on alike.
"""

from __future__ import annotations

import torch
from torch import nn

from sweeper.config.hyperparameters import UnfreezingConfig
from sweeper.modeling.classifier import Classifier
from sweeper.modeling.stages import last_stage, stages

BEGINS = "begins"
"""In a group of an optimizer: the first epoch in which its parameters learn."""

COUNTERS = {"k": 0, "weight_sum": 0.0, "lr_max": -1.0}
"""What an optimizer counts in a group, and where it begins; `step` of timm's is made when it is first counted."""

COUNTED = (*COUNTERS, "step")


def let_learn(optimizer: torch.optim.Optimizer, epoch: int) -> bool:
    """Let those groups learn whose turn it is, and return whether these are others than before; epochs count from 1.

    A group that begins counts its steps from then on: an optimizer that has counted those before would take its first
    averages for settled ones, and make steps many times too large.
    """
    changed = False
    for group in optimizer.param_groups:
        begins = group.get(BEGINS, 1)
        if begins == 1:
            continue
        for parameter in group["params"]:
            changed |= parameter.requires_grad is not (epoch >= begins)
            parameter.requires_grad_(epoch >= begins)
        if epoch == begins:
            group.pop("step", None)
            group.update({name: value for name, value in COUNTERS.items() if name in group})
    return changed


def all_learn(optimizer: torch.optim.Optimizer, epoch: int) -> bool:
    """Return whether all groups learn in an epoch, counted from 1."""
    return all(epoch >= group.get(BEGINS, 1) for group in optimizer.param_groups)


def first_epochs(network: nn.Module, config: UnfreezingConfig) -> dict[str, int]:
    """Return the first epoch in which each parameter learns that waits, by name; none where all learn at once."""
    if not isinstance(network, Classifier) or not (config.head_epochs or config.stage_epochs):
        return {}
    learning = {name for name, parameter in network.backbone.named_parameters() if parameter.requires_grad}
    last = last_stage(network.backbone)
    earlier = [frozenset(names) - last for names in reversed(stages(network.backbone))]
    parts = [part for part in (last & learning, *(names & learning for names in earlier)) if part]
    begin = config.head_epochs + 1
    return {
        f"backbone.{name}": begin + place * config.stage_epochs for place, part in enumerate(parts) for name in part
    }
