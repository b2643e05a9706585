"""Refusing, before anything is made on disk, batches of one image where those cannot be trained."""

from __future__ import annotations

from sweeper.config.searched import smallest
from sweeper.config.sweep import SweepConfig
from sweeper.config.task import CLASSIFICATION
from sweeper.data.listing import enumerated
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem
from sweeper.modeling.name_check import untrainable_on_one_apart


def refuse_single_images(sweep: SweepConfig) -> None:
    """Raise ConfigError, naming the branches, where a batch of one image is possible and would fail in training."""
    if sweep.task.name != CLASSIFICATION.name or smallest(sweep.search.batch_size) > 1:
        return
    failing = untrainable_on_one_apart(sweep.model_dump_json(by_alias=True))
    if failing:
        rule = "a batch of 1 image cannot be trained where batch normalisation learns from the spread of its inputs"
        remedy = "Take 2 images or more, or networks and heads without batch normalisation."
        told = f"{rule}:\n{enumerated(failing)}\n{remedy}"
        raise ConfigError([Problem(IN_SEARCH_SPACE, "search.batch_size", told)])
