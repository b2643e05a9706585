"""How many trials have room on a node, and what makes two machines comparable."""

from __future__ import annotations

import pytest

from sweeper.config.engine import RayConfig
from sweeper.engines.cluster.nodes import Node, gpus_of_a_trial
from sweeper.engines.cluster.versions import Versions


@pytest.mark.parametrize(
    ("cpus", "gpus", "trial_cpus", "trial_gpus", "slots"),
    [
        (16, 0, 4, 0, 4),
        (16, 2, 4, 1, 2),
        (16, 2, 4, 0.5, 4),
        (16, 2, 1, 0.4, 4),  # two of 0.4 on each GPU: none is spread over both
        (16, 8, 4, 2, 4),
        (3, 8, 4, 1, 0),
        (16, 0, 4, 1, 0),
        (1, 0, 0.1, 0, 10),
    ],
)
def test_a_node_has_as_many_slots_as_both_its_cpus_and_its_gpus_allow(
    cpus: float, gpus: float, trial_cpus: float, trial_gpus: float, slots: int
) -> None:
    assert Node("id", "host", cpus, gpus).slots(trial_cpus, trial_gpus) == slots


def test_a_trial_gets_a_gpu_where_the_cluster_has_any_unless_it_is_told_otherwise() -> None:
    with_gpus, without = [Node("a", "a", 4, 0), Node("b", "b", 4, 2)], [Node("a", "a", 4, 0)]
    auto = RayConfig(name="ray")
    assert gpus_of_a_trial(auto, with_gpus, "auto") == 1
    assert gpus_of_a_trial(auto, with_gpus, "cpu") == 0
    assert gpus_of_a_trial(auto, without, "auto") == 0
    assert gpus_of_a_trial(RayConfig(name="ray", gpus_per_trial=0.5), without, "auto") == 0.5


def test_a_difference_of_versions_is_named_from_both_sides() -> None:
    here = Versions((("python", "3.11"), ("torch", "2.14.1"), ("timm", "1.0")))
    there = Versions((("python", "3.11"), ("torch", "2.9.0")))
    assert here.differences(here) == []
    assert here.differences(there) == ["torch 2.9.0, here 2.14.1", "timm None, here 1.0"]
