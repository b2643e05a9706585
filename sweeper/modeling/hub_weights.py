"""Pretrained weights of the model hub: which of a search space are neither on this machine nor within reach."""

from __future__ import annotations

from typing import Any

import timm

from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.modeling.hub import OURS, hub_answers, in_cache
from sweeper.modeling.registry import load_model_files


def backbones_out_of_reach(content: str) -> list[str]:
    """Return the backbones of a search space, given as JSON, that cannot get their weights from the hub now."""
    sweep = SweepConfig.model_validate_json(content)
    load_model_files(sweep.model_files)
    search: Any = sweep.search
    places = {name: hub_name(name) for name in options(search.backbone)}
    absent = [name for name, place in places.items() if place is not None and not in_cache(place)]
    return absent if absent and not hub_answers() else []


def hub_name(architecture: str) -> str | None:
    """Return what the hub calls an architecture's weights; None where they come from elsewhere, or there are none."""
    config = timm.get_pretrained_cfg(architecture)
    if config is None or config.file or not config.hf_hub_id:
        return None
    return str(config.hf_hub_id).removeprefix(OURS)
