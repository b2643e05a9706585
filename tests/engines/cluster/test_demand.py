"""How many slots are started where others use some nodes, and which of them are ended again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.engines.cluster.demand import WAITS_S, lacking, left_behind, surplus, without_room
from sweeper.engines.cluster.messages import Plan
from sweeper.engines.cluster.nodes import Node
from sweeper.engines.cluster.places import Part, Place
from sweeper.engines.cluster.slot import Slot
from tests.engines.cluster.test_remote import plan
from tests.engines.cluster.test_slot import slot_at

__all__ = ["plan"]

A, B, C = (Node(name, name, 4, 0) for name in "abc")

Start = Callable[..., Slot]


@pytest.fixture
def start(plan: Plan, tmp_path: Path) -> Start:
    """Return what makes a slot on some nodes that has waited for a while, or whose actor runs."""

    def started(*nodes: Node, reached: bool = False, for_s: float = 0) -> Slot:
        slot = slot_at(Place(tuple(Part(node, first, 1) for first, node in enumerate(nodes))), plan, tmp_path)
        slot.reached, slot.begun_s = reached, time.monotonic() - for_s
        return slot

    return started


LONG_S = WAITS_S + 1


def test_slots_that_wait_for_room_are_started_on_other_nodes_as_well(start: Start) -> None:
    slots = [start(A, reached=True, for_s=LONG_S), start(A, for_s=LONG_S), start(A, for_s=LONG_S)]
    assert lacking(slots, 3) == 2
    assert without_room(slots) == {"a"}
    slots += [start(B), start(B)]  # which have not had the time to start
    assert lacking(slots, 3) == 0
    assert without_room(slots) == {"a"}
    assert surplus(slots, 3) == []


def test_those_that_still_wait_are_ended_once_as_many_run_as_are_wanted(start: Start) -> None:
    waiting, running, young = start(A, for_s=LONG_S), start(B, reached=True), start(C)
    assert surplus([waiting, running, young], 2) == []
    assert surplus([waiting, running, young], 1) == [waiting, young]


def test_of_those_that_run_the_latest_that_is_on_no_trial_is_one_too_many(start: Start) -> None:
    slots = [start(node, reached=True) for node in (A, B, C)]
    slots[2].numbers = [5]
    assert surplus(slots, 3) == []
    assert surplus(slots, 2) == [slots[1]]
    assert surplus(slots, 0) == [slots[1], slots[0]]


def test_without_a_number_of_slots_there_are_as_many_as_have_room(start: Start) -> None:
    slots = [start(A, for_s=LONG_S), start(B, reached=True)]
    assert lacking(slots, None) is None
    assert surplus(slots, None) == []


def test_a_slot_that_waits_for_a_node_that_is_gone_is_lost_wherever_its_other_devices_are(start: Start) -> None:
    spread, there, ready = start(A, B), start(A), start(B, reached=True)
    ready.ready = True  # Ray reports the end of what runs
    assert list(left_behind([spread, there, ready], [A, C])) == [(spread, B)]
    assert list(left_behind([spread, there, ready], [A, B, C])) == []
