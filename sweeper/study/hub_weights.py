"""Refusing, before anything is made on disk, pretrained weights that are not here and cannot be fetched."""

from __future__ import annotations

from typing import Any

from sweeper.config.engine import LocalConfig
from sweeper.config.searched import options
from sweeper.config.sweep import SweepConfig
from sweeper.data.listing import enumerated
from sweeper.errors import IN_SEARCH_SPACE, ConfigError, Problem, StudyError
from sweeper.modeling.hub import offline_problem
from sweeper.modeling.name_check import backbones_out_of_reach_apart
from sweeper.search.study_store import StudyStore


def refuse_weights_out_of_reach(sweep: SweepConfig, storage_url: str, *, retry_failed: bool = False) -> None:
    """Raise ConfigError, naming the backbones, where trials on this machine could not begin with the hub's weights.

    A ranking of backbones leaves out those that it cannot judge, and is refused where it could judge none. A study that
    has no trials left needs no weights, unless failed ones are to be trained again.
    """
    search: Any = sweep.search
    if not isinstance(sweep.engine, LocalConfig) or True not in options(search.pretrained):
        return
    absent = backbones_out_of_reach_apart(sweep.model_dump_json(by_alias=True))
    if not absent or (sweep.backbone_ranking and len(absent) < len(options(search.backbone))):
        return
    if retry_failed or not _is_finished(sweep, storage_url):
        told = offline_problem(enumerated(absent) if len(absent) > 1 else absent[0])
        raise ConfigError([Problem(IN_SEARCH_SPACE, "search.pretrained", told)])


def _is_finished(sweep: SweepConfig, storage_url: str) -> bool:
    """Return whether a study has begun, and has all the trials, or all the time, of its search space as it is now."""
    try:
        store = StudyStore.load(storage_url, sweep.study)
        timeout = sweep.budget.timeout
        if timeout is not None and store.seconds_used >= timeout:
            return True
        return sweep.budget.trials <= store.sweep.budget.trials and not store.remaining()
    except StudyError:  # there is none, or what is wrong with it is said when it is opened
        return False
