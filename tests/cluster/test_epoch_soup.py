"""Averages of epochs on a cluster: a node that is lost takes no epoch with it that is to be averaged."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Machines, await_that, sandbox_on
from tests.cluster.test_cluster import ended_well
from tests.functional.chaos import SPACE, Sandbox, table

pytestmark = pytest.mark.slow

AVERAGED: dict[str, Any] = {
    "budget": {"trials": 2, "epochs": 20},
    "search": {**copy.deepcopy(SPACE["search"]), "epoch_soup": 4, "optimizer": {"name": "sgd", "lr": 0.2}},
    "pruner": "none",
}


def test_a_trial_whose_node_is_lost_averages_the_epochs_that_it_had_there(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    (tmp_path / "here").mkdir()
    here = Sandbox.make(tmp_path / "here", **AVERAGED)
    assert here.run() == 0, here.said()
    lost = machines.add()
    (tmp_path / "there").mkdir()
    there = sandbox_on(machines, tmp_path / "there", node_folder, **AVERAGED)
    process = there.start()
    await_that(lambda: "trial 0 epoch 6/20" in there.said(), there)
    machines.kill_raylet(lost)
    machines.add()
    ended_well(process, there)
    assert there.said().count("trial 0 started") == 2
    assert table(there) == table(here)
    soups = [[row.outcome and row.outcome.soup for row in each.rows()] for each in (here, there)]
    assert soups[0] == soups[1]
    assert any(row.averaged_epochs for row in here.rows())
