"""One trial on devices of several nodes: what it gives, what it waits for, and what becomes of it when one is lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.engines.rank import PROCESS_NAME
from tests.cluster.conftest import PATIENCE_S, Machines, actors, await_that, named, sandbox_on, workers
from tests.cluster.test_cluster import after_epoch, ended_well
from tests.functional.chaos import SPACE, Sandbox, check, end_group, recorded
from tests.functional.test_memory import cap
from tests.functional.test_several_devices import TOLERANCE

pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {"budget": {"trials": 3, "epochs": 6}, "devices_per_trial": 2}
SMOOTH: dict[str, Any] = {
    "backbone": "test_vit",
    "image_size": 16,
    "batch_size": 13,  # shares of 7 and 6 images, and a last batch of 9
    "gradient_clip": 1.0,
    "augment": {"flip": True, "mixup": 0.4},
    "optimizer": {"name": "adamw", "lr": {"float": [1e-4, 1e-3], "log": True}},
}
"""Without batch normalisation, which is synchronised on GPUs alone, and without dropout, whose masks differ."""


def spread_on(machines: Machines, root: Path, node_folder: Path, *, spread: bool = True, **changes: Any) -> Sandbox:
    """Return a study each of whose trials wants a CPU for each of two devices, and finds them on two nodes."""
    of_nodes = {"node_folder": str(node_folder), "patience": PATIENCE_S}
    engine = {"name": "ray", "cpus_per_trial": 2, "spread": spread, **of_nodes}
    return sandbox_on(machines, root, node_folder, **{**SHORT, "engine": engine, **changes})


def ranks() -> list[Any]:
    return named(PROCESS_NAME.decode())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The same study on two devices of this machine."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("undisturbed"), **SHORT)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


def test_a_trial_on_two_nodes_has_the_metrics_of_one_device(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    smooth: dict[str, Any] = {"search": SMOOTH, "pruner": "none"}
    alone = Sandbox.make(tmp_path / "alone", **{**SHORT, **smooth, "devices_per_trial": 1})
    assert alone.run() == 0, alone.said()
    machines.add()
    machines.add()
    spread = spread_on(machines, tmp_path / "spread", node_folder, **smooth)
    assert spread.run() == 0, spread.said()
    assert "each trial on 2 devices of one node, or of several where no node has room for all" in spread.said()
    ours, theirs = recorded(spread), recorded(alone)
    for name in (f"trial-{number:04d}" for number in range(3)):
        for key in ("train/loss", "val/loss", "train/accuracy", "val/accuracy"):
            found, expected = ([value for _, value, _ in run[name][key]] for run in (ours, theirs))
            assert found == pytest.approx(expected, rel=TOLERANCE), (name, key)
    assert not ranks()
    assert not list(node_folder.rglob("trial-*"))


def test_a_node_with_room_for_a_whole_trial_takes_it_whole(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox
) -> None:
    machines.add()
    machines.add(slots=2)
    sandbox = spread_on(machines, tmp_path, node_folder)
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, {})
    assert not named("ray::RemoteRanks")


def test_a_trial_waits_until_enough_nodes_have_joined_and_says_so(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox
) -> None:
    machines.add()
    sandbox = spread_on(machines, tmp_path, node_folder)
    process = sandbox.start()
    await_that(lambda: "a trial wants 2 devices, and the Ray cluster has room for 1 of them" in sandbox.said(), sandbox)
    assert not actors()
    machines.add()
    ended_well(process, sandbox)
    check(sandbox, undisturbed, {})


def test_a_trial_that_waits_for_a_node_that_goes_is_put_on_others(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox
) -> None:
    machines.add()
    machines.add()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    alone = {"budget": {"trials": 1, "epochs": 3000}}
    other = sandbox_on(machines, tmp_path / "one", node_folder, "--workers", "1", **alone)
    begun = other.start()
    after_epoch(other, 1)
    sandbox = spread_on(machines, tmp_path / "two", node_folder)
    process = sandbox.start()
    await_that(lambda: "the Ray cluster has no room for a trial now" in " ".join(sandbox.said().split()), sandbox)
    begun.send_signal(signal.SIGSTOP)  # or it would take the other node
    machines.kill_raylet(lead(machines))
    end_group(begun)
    machines.add()
    ended_well(process, sandbox)
    check(sandbox, undisturbed, {})


def test_a_trial_that_may_not_be_spread_is_refused_where_no_node_has_room(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    machines.add()
    machines.add()
    sandbox = spread_on(machines, tmp_path, node_folder, spread=False)
    assert sandbox.run() == 4
    assert "engine.spread: true, by which a trial may be on several nodes" in " ".join(sandbox.said().split())


def lead(machines: Machines) -> Any:
    """Return the node of the worker: the first by its id, of nodes of one host with as much room each."""
    return min(machines.nodes, key=lambda node: str(node.node_id))


def kill_rank(machines: Machines) -> None:
    for process in ranks():
        os.kill(process.pid, signal.SIGKILL)


def kill_worker(machines: Machines) -> None:
    for process in workers():
        process.kill()


def kill_node_of_worker(machines: Machines) -> None:
    machines.kill_raylet(lead(machines))


def kill_node_of_rank(machines: Machines) -> None:
    (other,) = (node for node in machines.nodes if node is not lead(machines))
    machines.kill_raylet(other)


def kill_actor_of_rank(machines: Machines) -> None:
    for process in named("ray::RemoteRanks"):
        process.kill()


FAULTS: dict[str, Callable[[Machines], None]] = {
    "rank killed": kill_rank,
    "worker killed": kill_worker,
    "actor of the rank killed": kill_actor_of_rank,
    "node of the rank killed": kill_node_of_rank,
    "node of the worker killed": kill_node_of_worker,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_trial_on_two_nodes_costs_an_epoch_at_most(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox, fault: str
) -> None:
    machines.add()
    machines.add()
    sandbox = spread_on(machines, tmp_path, node_folder)
    process = sandbox.start()
    after_epoch(sandbox, 3)
    before = ranks()
    seen = sandbox.epochs_on_disk()
    FAULTS[fault](machines)
    await_that(lambda: not any(rank.is_running() and rank.status() != "zombie" for rank in before), sandbox, 60)
    if len(machines.nodes) < 2:
        machines.add()
    ended_well(process, sandbox)
    check(sandbox, undisturbed, seen)
    assert not ranks()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux caps the address space of another process")
def test_memory_that_runs_out_on_two_nodes_cuts_the_batch_into_parts(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    large = {**SPACE["search"], "image_size": 160, "batch_size": 48}
    machines.add()
    machines.add()
    sandbox = spread_on(machines, tmp_path, node_folder, search=large, budget={"trials": 1, "epochs": 10})
    process = sandbox.start()
    after_epoch(sandbox, 1)
    cap([*workers(), *ranks()], headroom_mb=40)
    ended_well(process, sandbox)
    assert "1 complete" in sandbox.said()
    sizes = [value for _, value, _ in recorded(sandbox)["trial-0000"]["micro_batch_size"]]
    assert sizes[0] == 24 > sizes[-1]


PAUSING: dict[str, Any] = {
    "budget": {"trials": 5, "epochs": 5},
    "sampler": "random",
    "pruner": {"name": "promote", "rungs": [1, 3], "keep": 0.5},
}


def test_trials_on_two_nodes_pause_and_go_on_as_on_one_machine(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    here = Sandbox.make(tmp_path / "here", **{**SHORT, **PAUSING})
    assert here.run() == 0, here.said()
    machines.add()
    machines.add()
    spread = spread_on(machines, tmp_path / "spread", node_folder, **PAUSING)
    assert spread.run() == 0, spread.said()
    assert "paused after epoch 1" in spread.said()
    check(spread, here, {})
    assert not list(node_folder.rglob("trial-*"))


def test_files_of_a_trial_on_two_nodes_travel_through_a_shared_folder(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox
) -> None:
    machines.add()
    machines.add()
    shared = tmp_path / "shared"
    sandbox = spread_on(machines, tmp_path / "work", node_folder)
    sandbox.options = (*sandbox.options, "--shared", f"file://{shared}")
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, {})
    assert not [path for path in shared.rglob("*") if path.is_file()]
