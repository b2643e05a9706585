"""The optimizer of one trial, with its parameter groups."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from types import MappingProxyType
from typing import Any

import schedulefree
import timm.optim
import torch
from torch.nn import Parameter

from sweeper.config.optimizer import (
    AdamConfig,
    OptimizerConfig,
    ScheduleFreeConfig,
    SgdConfig,
    TimmOptimizerConfig,
)
from sweeper.errors import ModelError
from sweeper.modeling.stages import layers
from sweeper.training.inputs import Network
from sweeper.training.unfreezing import BEGINS

Group = dict[str, Any]
GroupKey = tuple[str, float, bool, int]
"""Part of the network, factor of its rate, whether it decays, the epoch in which it begins to learn."""

FUSED_DEVICES = ("cpu", "cuda")
"""On 2 CPU cores torch's fused AdamW took a step of ResNet-18 in 7.6 ms, foreach in 22.6; SGD 5.5 and 10.8."""


def build_optimizer(
    network: Network,
    config: OptimizerConfig,
    weight_decay: float,
    decay_norm_and_bias: bool,
    device: torch.device | str,
    layer_decay: float = 1.0,
    begins: Mapping[str, int] = MappingProxyType({}),
) -> torch.optim.Optimizer:
    """Build the optimizer of every parameter that may change.

    Args:
        network: Already on `device`.
        config: The optimizer and its options. `lr` is the backbone's, the head's is that times `head_lr_factor`.
        weight_decay: As the optimizer understands it: decoupled for adamw, an L2 penalty for adam and sgd.
        decay_norm_and_bias: Decay normalisation layers and biases like everything else.
        device: Where the parameters are.
        layer_decay: By how much the rate falls from each layer to the one before it, as in BEiT (arXiv 2106.08254) and
            timm's `param_groups_layer_decay`.
        begins: The first epoch of parameters that begin to learn later, by name; each epoch has groups of its own.

    Raises:
        ModelError: timm's factory does not take this optimizer or its options.
    """
    groups = parameter_groups(network, config, weight_decay, decay_norm_and_bias, layer_decay, begins)
    fused = torch.device(device).type in FUSED_DEVICES
    match config:
        case AdamConfig():
            kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
            return kind(groups, config.lr, betas=config.betas, eps=config.eps, amsgrad=config.amsgrad, fused=fused)
        case SgdConfig():
            nesterov = config.nesterov and config.momentum > 0
            return torch.optim.SGD(groups, config.lr, momentum=config.momentum, nesterov=nesterov, fused=fused)
        case ScheduleFreeConfig():
            averaging: torch.optim.Optimizer = schedulefree.AdamWScheduleFree(
                groups, config.lr, betas=config.betas, eps=config.eps
            )
            return averaging
        case TimmOptimizerConfig():
            return timm_optimizer(groups, config.name, config.lr, config.options)


def timm_optimizer(groups: list[Group], name: str, lr: float, options: dict[str, Any]) -> torch.optim.Optimizer:
    try:
        create = timm.optim.create_optimizer_v2  # type: ignore[attr-defined]
        optimizer: torch.optim.Optimizer = create(groups, opt=name, lr=lr, **options)
    except Exception as error:  # every optimizer checks its options in its own way; it must fail this trial only
        raise ModelError(f"timm's optimizer {name} cannot be built with options {options}: {error}") from error
    return optimizer


def parameter_groups(
    network: Network,
    config: OptimizerConfig,
    weight_decay: float,
    decay_norm_and_bias: bool,
    layer_decay: float = 1.0,
    begins: Mapping[str, int] = MappingProxyType({}),
) -> list[Group]:
    """Split what learns into groups: backbone, by its layers where these have rates of their own, and head.

    Each is divided into what weight decay is for and what not, and by the epoch in which it begins to learn.
    `layer_scale` is by what a group's rate is multiplied.
    """
    scales = layer_scales(network, layer_decay)
    exempt = set() if decay_norm_and_bias else exempt_names(network)
    groups: dict[GroupKey, list[Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            part = name.partition(".")[0]
            key = (part, scales.get(name, 1.0), name not in exempt, begins.get(name, 1))
            groups.setdefault(key, []).append(parameter)
    lr = {"backbone": config.lr, "head": config.lr * config.head_lr_factor}
    return [
        {
            "params": parameters,
            "lr": lr[part] * scale,
            "weight_decay": weight_decay if decays else 0.0,
            "part": part,
            "layer_scale": scale,
            BEGINS: begin,
        }
        for (part, scale, decays, begin), parameters in sorted(groups.items(), key=_in_order)
    ]


def _in_order(group: tuple[GroupKey, list[Parameter]]) -> tuple[str, float, bool, int]:
    """Sort groups: the backbone before the head, its last layer first, what decays before what does not."""
    (part, scale, decays, begin), _ = group
    return part, -scale, not decays, begin


def layer_scales(network: Network, layer_decay: float) -> dict[str, float]:
    """Return by what the rate of each parameter of the backbone is multiplied, by name; nothing where all are alike."""
    if layer_decay == 1.0:
        return {}
    return {f"backbone.{name}": layer_decay**above for name, above in layers(network.backbone).items()}


def exempt_names(network: Network) -> set[str]:
    """Return the names of biases, normalisation weights and whatever the backbone wants spared from decay."""
    patterns = [f"backbone.{name}" for name in getattr(network.backbone, "no_weight_decay", set)()]
    return {
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim <= 1 or name.endswith(".bias") or any(fnmatch(name, pattern) for pattern in patterns)
    }
