"""The driver's end of a slot: what it does with what a node reports, without a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.engines.cluster.actors import Actors
from sweeper.engines.cluster.messages import Plan, Report
from sweeper.engines.cluster.nodes import Node
from sweeper.engines.cluster.places import Part, Place
from sweeper.engines.cluster.slot import Slot
from sweeper.engines.protocol import DiskTrouble, Event, FoldLeft, SlotRetired, WorkerDied
from sweeper.paths import StudyFolder
from tests.engines.cluster.test_remote import plan

__all__ = ["plan"]

ON_A = Place((Part(Node("a", "a", 1, 0), 0, 1),))

MakeSlot = Callable[[Path, list[Event | FoldLeft]], Slot]


@pytest.fixture
def make_slot(plan: Plan) -> MakeSlot:
    """Return what makes a slot whose node nobody calls."""

    def made(folder: Path, told: list[Event | FoldLeft]) -> Slot:
        by_ray = replace(plan, shared=None)
        ends = Actors(None)
        return Slot(ends, ON_A, [by_ray], StudyFolder(folder), 30, lambda _, event: told.append(event), lambda *_: None)

    return made


@pytest.mark.parametrize(
    ("event", "number"),
    [(WorkerDied(3, "it was killed"), 3), (WorkerDied(None, "it was killed"), None), (SlotRetired("no GPU", 0), None)],
)
def test_a_log_that_cannot_be_written_here_is_trouble_with_this_disk_and_not_the_node_s_fault(
    make_slot: MakeSlot, tmp_path: Path, event: WorkerDied | SlotRetired, number: int | None
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: make chaos-cluster does it")
    told: list[Event | FoldLeft] = []
    folder = StudyFolder(tmp_path / "study")
    folder.path.mkdir()
    folder.worker_logs.write_text("a file in place of a folder")
    make_slot(folder.path, told)._bring(Report(1, event, log="the last lines"))
    (trouble,) = told
    assert isinstance(trouble, DiskTrouble)
    assert trouble.number == number
    assert "cannot be written" in trouble.message
