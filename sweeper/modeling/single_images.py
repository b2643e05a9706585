"""Batches of one image: which networks of a search space cannot be trained on them, found out by trying."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from sweeper.config.hyperparameters import HeadConfig, TrialConfig
from sweeper.config.option_labels import option_labels
from sweeper.config.searched import options, smallest
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ModelError
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.registry import load_model_files

MOST_TRIED = 64


def untrainable_on_one(content: str) -> list[str]:
    """Return the branches of a search space, given as JSON, whose networks fail on a single image, and why.

    Batch normalisation learns from the spread of its inputs, and one image that has come down to one pixel has none.
    """
    sweep = SweepConfig.model_validate_json(content)
    load_model_files(sweep.model_files)
    search: Any = sweep.search
    side, heads, parts = smallest(search.image_size), _heads(search.head), options(search.trainable)
    found = []
    branches = itertools.product(options(search.backbone), heads, parts)
    for backbone, (label, head), trainable in itertools.islice(branches, MOST_TRIED):
        config = TrialConfig(backbone=backbone, head=head, trainable=trainable, image_size=side, batch_size=1)
        if _fails(config):
            chosen = [f"head {label}"] * (len(heads) > 1) + [f"trainable {trainable}"] * (len(parts) > 1)
            found.append(", ".join([f"{backbone} at {side} pixels", *chosen]))
    return found


def _heads(value: Any) -> list[tuple[str, HeadConfig]]:
    """Return the heads there are to choose from, with and without normalisation; their sizes do not matter here."""
    return [
        (str(label), HeadConfig(hidden=(8,) * bool(option.hidden), norm=norm))
        for option, label in zip(options(value), option_labels(options(value)), strict=True)
        for norm in (options(option.norm) if option.hidden else ("none",))
    ]


def _fails(config: TrialConfig) -> bool:
    """Return whether a network refuses one image in training; what else may be wrong with it, its trial will tell."""
    try:
        network = build_classifier(config, 2, load_weights=False).train()
    except ModelError:
        return False
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, config.image_size, config.image_size))
    except ValueError:  # torch's for batch normalisation of a single value
        return True
    return False
