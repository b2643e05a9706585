"""The driver's end of a slot: what it does with what a node reports, without a cluster."""

from __future__ import annotations

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

Told = list[Event | FoldLeft]


def slot_at(place: Place, plan: Plan, folder: Path, told: Told | None = None) -> Slot:
    """Return a slot whose nodes nobody calls."""
    hears = [] if told is None else told
    plans, nobody = [replace(plan, shared=None) for _ in place.parts], Actors(None, (None,) * (len(place.parts) - 1))
    return Slot(nobody, place, plans, StudyFolder(folder), 30, lambda _, event: hears.append(event), lambda *_: None)


@pytest.mark.parametrize(
    ("event", "number"),
    [(WorkerDied(3, "it was killed"), 3), (WorkerDied(None, "it was killed"), None), (SlotRetired("no GPU", 0), None)],
)
def test_a_log_that_cannot_be_written_here_is_trouble_with_this_disk_and_not_the_node_s_fault(
    plan: Plan, tmp_path: Path, event: WorkerDied | SlotRetired, number: int | None
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: make chaos-cluster does it")
    told: Told = []
    folder = StudyFolder(tmp_path / "study")
    folder.path.mkdir()
    folder.worker_logs.write_text("a file in place of a folder")
    slot_at(ON_A, plan, folder.path, told)._bring(Report(1, event, log="the last lines"))
    (trouble,) = told
    assert isinstance(trouble, DiskTrouble)
    assert trouble.number == number
    assert "cannot be written" in trouble.message
