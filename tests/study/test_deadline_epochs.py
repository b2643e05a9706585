"""How many epochs a deadline leaves to a trial, where its first epochs are not like the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialSpec
from sweeper.study.deadline import SearchLimit, growth, least_epochs
from tests.study.test_deadline import Search, metrics_of


def test_epochs_in_which_the_head_alone_learns_settle_nothing() -> None:
    config = TrialConfig.model_validate({"backbone": "r", "unfreezing": {"head_epochs": 2}})
    search = Search(1000, 20)
    limit = SearchLimit(search.deadline, 20, settled=False, least=3)
    limit.group_started([TrialSpec(number=0, seed=0, epochs=20, config=config)])
    for epoch in (1, 2):
        search.clock.advance_to(search.clock() + 1)
        assert limit.epoch_finished(0, metrics_of(epoch, 1.0)) is None
    search.clock.advance_to(search.clock() + 10)
    planned = limit.epoch_finished(0, metrics_of(3, 10.0))
    assert planned is not None
    assert 3 < planned < 12  # eight trials of epochs of 10 s, not of 4 s


def test_however_little_time_there_is_the_backbone_begins_to_learn() -> None:
    config = TrialConfig.model_validate({"backbone": "r", "unfreezing": {"head_epochs": 2}})
    search = Search(1000, 20)
    limit = SearchLimit(search.deadline, 20, settled=False, least=3)
    limit.group_started([TrialSpec(number=0, seed=0, epochs=20, config=config)])
    search.clock.advance_to(search.clock() + 600)
    for epoch in (1, 2):
        assert limit.epoch_finished(0, metrics_of(epoch, 200.0)) is None
    assert limit.epoch_finished(0, metrics_of(3, 200.0)) == 3


def test_the_first_epoch_of_growing_images_is_known_to_be_a_short_one() -> None:
    sides = np.minimum(1, 0.5 + 0.75 * np.linspace(0, 1, 9999))
    assert growth(1.0) == 1.0
    assert growth(0.5) == pytest.approx((sides**2).mean() / 0.25, rel=1e-3)
    planned = []
    for first in (1.0, 0.5):
        search = Search(3600, 50)
        config = TrialConfig(backbone="r", progressive_resizing=first)
        search.limit.group_started([TrialSpec(number=0, seed=0, epochs=50, config=config)])
        search.clock.advance_to(search.clock() + 10)
        planned.append(search.limit.epoch_finished(0, metrics_of(1, 10.0)) or 50)
    assert planned[1] < planned[0] / 2


def test_the_fewest_epochs_let_everything_learn() -> None:
    def fewest(**search: Any) -> int:
        content = {"study": "s", "dataset": {"path": "d"}, "search": {"backbone": "b", **search}}
        return least_epochs(SweepConfig.model_validate({**content, "budget": {"epochs": 20}}).search)

    assert fewest(unfreezing={"head_epochs": {"int": [0, 3]}}) == 4
    assert fewest(scheduler={"name": "cosine", "warmup_epochs": {"float": [0, 1.5]}}) == 2
    assert fewest() == 1
