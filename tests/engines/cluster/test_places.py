"""Where slots have room: whole on a node, or over nodes that are too small for a whole trial."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.engines.cluster.nodes import Node
from sweeper.engines.cluster.places import Place, Share, free_places


def cluster(*gpus: int) -> list[Node]:
    """Return nodes with these numbers of GPUs and as many CPUs, called a, b, c and so on."""
    return [Node(name, name, count, count) for name, count in zip("abcdefgh", gpus, strict=False)]


def of(
    share: Share, nodes: list[Node], taken: list[Place] | None = None, *, spread: bool = True, apart: str = ""
) -> list[str]:
    """Return the free places in letters: each device by its node."""
    found = free_places(nodes, taken or [], share, spread=spread, apart=[frozenset(cut) for cut in apart.split()])
    return ["".join(part.node.id * part.here for part in place.parts) for place in found]


FOUR = Share(4, 4, 4)


def test_a_node_with_room_for_whole_trials_takes_whole_trials_alone_and_first() -> None:
    assert of(FOUR, cluster(2, 6, 2)) == ["bbbb", "aacc"]  # two GPUs of b are left over


def test_small_nodes_are_put_together_the_largest_first_so_that_a_trial_is_on_few() -> None:
    assert of(FOUR, cluster(1, 3, 2, 1, 1)) == ["bbbc", "acde"]


def test_a_place_appears_when_the_last_of_its_nodes_has_joined() -> None:
    assert of(FOUR, cluster(1, 2)) == []
    assert of(FOUR, cluster(1, 2, 1)) == ["bbac"]


def test_what_slots_hold_is_not_given_again() -> None:
    nodes = cluster(2, 3, 3)
    (first, *_) = free_places(nodes, [], FOUR, spread=True)
    assert of(FOUR, nodes, [first]) == ["aacc"]
    assert of(FOUR, nodes, list(free_places(nodes, [], FOUR, spread=True))) == []


def test_nodes_that_cannot_reach_each_other_are_not_put_together() -> None:
    assert of(FOUR, cluster(2, 2, 2), apart="ab") == ["aacc"]
    assert of(FOUR, cluster(2, 2), apart="ab") == []
    assert of(FOUR, cluster(2, 2, 2, 2), apart="ab ac cd") == ["aadd", "bbcc"]
    assert of(FOUR, cluster(3, 2, 2), apart="ab ac") == ["bbcc"]  # the largest one is of no use
    assert of(FOUR, cluster(4, 4), apart="ab") == ["aaaa", "bbbb"]


def test_of_nodes_that_did_not_meet_all_together_some_may() -> None:
    assert of(FOUR, cluster(2, 1, 1, 2), apart="abc") == ["aadd"]
    assert of(FOUR, cluster(2, 1, 1), apart="abc") == []


def test_a_place_names_the_nodes_of_ranks_beside_that_of_its_worker() -> None:
    (place,) = free_places(cluster(2, 1, 1), [], FOUR, spread=True)
    assert [node.id for node in place.with_ranks([3])] == ["a", "c"]
    assert [node.id for node in place.with_ranks([2, 3])] == ["a", "b", "c"]


def test_nothing_is_spread_that_may_not_be_or_has_one_device() -> None:
    assert of(FOUR, cluster(2, 2), spread=False) == []
    assert of(Share(4, 0.5), cluster(2, 2)) == []


def test_without_gpus_each_device_has_its_part_of_the_cpus_of_a_trial() -> None:
    nodes = [Node("a", "a", 1, 0), Node("b", "b", 1.5, 0), Node("c", "c", 0.5, 0)]
    assert of(Share(2, 0, 2), nodes) == ["ab"]


cuts = st.lists(st.frozensets(st.sampled_from("abcdefgh"), min_size=2, max_size=3), max_size=5)


@given(gpus=st.lists(st.integers(0, 9), max_size=8), devices=st.integers(2, 8), apart=cuts)
def test_no_device_is_given_twice_and_each_place_has_all_ranks(
    gpus: list[int], devices: int, apart: list[frozenset[str]]
) -> None:
    nodes = cluster(*gpus)
    places = list(free_places(nodes, [], Share(devices, devices, devices), spread=True, apart=apart))
    for place in places:
        ranks = [rank for part in place.parts for rank in range(part.first, part.first + part.here)]
        assert ranks == list(range(devices))
        ids = {part.node.id for part in place.parts}
        assert len(ids) == len(place.parts)
        assert not any(cut <= ids for cut in apart)
    for node in nodes:
        held = sum(part.here for place in places for part in place.parts if part.node == node)
        assert held <= node.gpus
    left = sum(node.gpus for node in nodes if node.gpus < devices) - sum(
        devices for place in places if len(place.parts) > 1
    )
    assert left < devices or apart


@pytest.mark.parametrize(
    ("gpus", "device", "hidden"),
    [(0, "auto", True), (0, "cpu", True), (0, "cuda", True), (0, "cuda:1", False), (0.5, "auto", False)],
)
def test_gpus_are_hidden_from_trials_that_get_none_unless_the_study_names_one(
    gpus: float, device: str, hidden: bool
) -> None:
    assert Share(1, gpus, 1, device).hides_gpus is hidden
