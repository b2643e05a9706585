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


def both(machines: Machines, root: Path, node_folder: Path, epochs: int, *options: str) -> tuple[Sandbox, Sandbox]:
    """Return two folders with a study of one trial: one that is run here, and one to be run on the cluster."""
    one: dict[str, Any] = {"budget": {"trials": 1, "epochs": epochs}, "dataset": {"path": "images", "folds": 3}}
    for name in ("here", "there"):
        (root / name).mkdir()
    here = Sandbox.make(root / "here", **one)
    assert here.run() == 0, here.said()
    return here, sandbox_on(machines, root / "there", node_folder, *options, **one)


@pytest.mark.parametrize("options", [(), ("--shared", "files")], ids=["through Ray", "through a shared folder"])
def test_an_idle_node_trains_a_later_fold(
    machines: Machines, tmp_path: Path, node_folder: Path, options: tuple[str, ...]
) -> None:
    here, there = both(machines, tmp_path, node_folder, 150, *options)
    machines.add(2)
    trial = there.workspace.study(there.settings()["study"]).trial(0)
    process = there.start()
    await_that(lambda: trial.fold(3).outcome.exists() and not trial.fold(2).outcome.exists(), there)
    ended_well(process, there)
    assert table(there) == table(here)
    assert not [path for path in (there.root / "files").rglob("*") if path.is_file()]


def test_a_node_that_is_lost_while_it_trains_a_later_fold_costs_no_digit(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    here, there = both(machines, tmp_path, node_folder, 150)
    machines.add()
    process = there.start()
    await_that(lambda: "trial 0 started" in there.said(), there)
    idle = machines.add()
    await_that(lambda: bool(list(node_folder.rglob("trial-0000/fold-3/history.json"))), there)
    machines.kill_raylet(idle)
    ended_well(process, there)
    assert there.said().count("trial 0 started") == 1
    assert table(there) == table(here)
