"""The stages of a backbone, so that all but the last can be frozen, and its layers, so that each may have its rate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from timm.models import group_parameters
from torch import Tensor, nn


def last_stage(backbone: nn.Module) -> frozenset[str]:
    """Return the names of the parameters of a backbone's last stage and of all that follows it.

    A final normalisation, or a projection of every pixel by itself (1 x 1), is not a stage of its own:
    it goes with the stage before.
    """
    parameters = dict(backbone.named_parameters())
    last_features = names_below(parameters, last_feature_module(backbone))
    stage: frozenset[str] = frozenset()
    for names in reversed(stages(backbone)):
        stage |= frozenset(names)
        if last_features <= stage and any(transforms(parameters[name]) for name in names):
            break
    return stage


def stages(backbone: nn.Module) -> list[list[str]]:
    """Return the names of the parameters of every stage: timm's coarse groups, else the backbone's children."""
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is not None:
        groups: Mapping[int, list[str]] = group_parameters(backbone, matcher(coarse=True))
        return [groups[number] for number in sorted(groups)]
    names = [name for name, _ in backbone.named_parameters()]
    children = [sorted(names_below(names, child)) for child, _ in backbone.named_children()]
    return [[name for name in names if "." not in name], *children]


def layers(backbone: nn.Module) -> dict[str, int]:
    """Return for each parameter of a backbone how many layers above it there are, the head among them.

    Layers are timm's fine groups, else the backbone's children. What timm's groups name nowhere, such as a last
    normalisation, is one with the head: 0.
    """
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        groups = [names for names in stages(backbone) if names]
        return {name: len(groups) - place for place, names in enumerate(groups) for name in names}
    patterns = matcher(coarse=False)
    found: Mapping[str, int] = group_parameters(backbone, patterns, reverse=True)
    numbers = sorted({number for name, number in found.items() if _named(name, patterns)})
    above = {number: len(numbers) - place for place, number in enumerate(numbers)}
    return {name: above.get(number, 0) for name, number in found.items()}


def _named(name: str, patterns: Mapping[str, Any]) -> bool:
    """Return whether one of timm's patterns names a parameter: regular expressions, or lists of them with a number."""
    given = [one for value in patterns.values() for one in ([value] if isinstance(value, str) else value)]
    return any(re.match(one if isinstance(one, str) else one[0], name) for one in given)


def transforms(weight: Tensor) -> bool:
    """Tell a stage's weight (linear, or a convolution that sees neighbours) from a scale or a projection."""
    return weight.ndim > 1 and tuple(weight.shape[2:]) != (1, 1)


def last_feature_module(backbone: nn.Module) -> str:
    """Return the module that timm names as the source of the deepest features, or nothing."""
    information: Any = getattr(backbone, "feature_info", None)
    if not isinstance(information, list) or not information:
        return ""
    return str(information[-1].get("module", ""))


def names_below(names: Any, module: str) -> frozenset[str]:
    """Return those parameter names that belong to a module; to no module belongs nothing."""
    return frozenset(name for name in names if module and name.startswith(f"{module}."))
