"""Cross-validation on a cluster: a node that is lost within a fold costs no digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Machines, await_that, sandbox_on
from tests.cluster.test_cluster import ended_well
from tests.functional.chaos import Sandbox, table

pytestmark = pytest.mark.slow

FOLDED: dict[str, Any] = {"budget": {"trials": 2, "epochs": 20}, "dataset": {"path": "images", "folds": 3}}


def test_a_trial_whose_node_is_lost_between_folds_goes_on_elsewhere_from_the_folds_that_have_ended(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    (tmp_path / "here").mkdir()
    here = Sandbox.make(tmp_path / "here", **FOLDED)
    assert here.run() == 0, here.said()
    lost = machines.add()
    (tmp_path / "there").mkdir()
    there = sandbox_on(machines, tmp_path / "there", node_folder, **FOLDED)
    process = there.start()
    await_that(lambda: "trial 0 fold 1/3" in there.said(), there)
    machines.kill_raylet(lost)
    machines.add()
    ended_well(process, there)
    assert there.said().count("trial 0 started") == 2
    assert table(there) == table(here)
