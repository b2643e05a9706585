"""Refusing, before anything is made on disk, pretrained weights that are not here and cannot be fetched."""

from __future__ import annotations

from typing import Any

from sweeper.config.engine import LocalConfig
from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.data.listing import enumerated
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem
from sweeper.modeling.hub import offline_problem
from sweeper.modeling.name_check import backbones_out_of_reach_apart


def refuse_weights_out_of_reach(sweep: SweepConfig) -> None:
    """Raise ConfigError, naming the backbones, where trials on this machine could not begin with the hub's weights.

    A ranking of backbones leaves out those that it cannot judge, and is refused where it could judge none.
    """
    search: Any = sweep.search
    if not isinstance(sweep.engine, LocalConfig) or True not in options(search.pretrained):
        return
    absent = backbones_out_of_reach_apart(sweep.model_dump_json(by_alias=True))
    if absent and not (sweep.backbone_ranking and len(absent) < len(options(search.backbone))):
        told = offline_problem(enumerated(absent) if len(absent) > 1 else absent[0])
        raise ConfigError([Problem(IN_SEARCH_SPACE, "search.pretrained", told)])
