"""A sweep on a Ray cluster gives what it gives on one machine, whatever happens to the machines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.conftest import Machines, actors, await_that, sandbox_on, workers
from tests.functional.chaos import Sandbox, check, end_group, table

pytestmark = pytest.mark.slow

SHORT: dict[str, Any] = {"budget": {"trials": 4, "epochs": 5}}
SEVERAL: dict[str, Any] = {"budget": {"trials": 8, "epochs": 25}, "sampler": "random", "pruner": "none"}
"""What is suggested does not depend on the order in which trials end, so that any number of slots gives the same."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The same study on this machine, one trial at a time."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("undisturbed"), **SHORT)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


@pytest.fixture(scope="module")
def undisturbed_at_random(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    sandbox = Sandbox.make(tmp_path_factory.mktemp("at-random"), **SEVERAL)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


def after_epoch(sandbox: Sandbox, count: int = 2) -> None:
    """Wait until this many epochs have been reported."""
    await_that(lambda: sandbox.said().count(" epoch ") >= count, sandbox)


def ended_well(process: subprocess.Popen[bytes], sandbox: Sandbox, within_s: float = 240) -> None:
    try:
        assert process.wait(within_s) == 0, sandbox.said()
    except subprocess.TimeoutExpired:
        raise AssertionError(sandbox.said()) from None
    finally:
        end_group(process)


def test_one_slot_of_a_cluster_gives_what_this_machine_gives(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox
) -> None:
    machines.add()
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SHORT)
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, {})
    assert not list(node_folder.rglob("trial-*"))  # nothing is left on the node but caches


def test_two_nodes_give_the_same_trials(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed_at_random: Sandbox
) -> None:
    machines.add()
    machines.add()
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SEVERAL)
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed_at_random, {})


def test_a_trial_on_several_devices_gives_in_a_cluster_what_it_gives_on_this_machine(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    here = Sandbox.make(tmp_path / "here", **SHORT, devices_per_trial=2)
    assert here.run() == 0, here.said()
    machines.add()
    there = sandbox_on(machines, tmp_path / "there", node_folder, **SHORT, devices_per_trial=2)
    assert there.run() == 0, there.said()
    check(there, here, {})


def test_files_travel_through_a_shared_folder(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox
) -> None:
    machines.add()
    shared = tmp_path / "shared"
    sandbox = sandbox_on(machines, tmp_path / "work", node_folder, "--shared", f"file://{shared}", **SHORT)
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, {})
    assert not [path for path in shared.rglob("*") if path.is_file()]


def test_each_node_fetches_images_from_their_address(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox
) -> None:
    machines.add()
    archive = shutil.make_archive(str(tmp_path / "images"), "tar", undisturbed.root / "images")
    sandbox = sandbox_on(machines, tmp_path / "work", node_folder, **SHORT, dataset={"path": f"file://{archive}"})
    shutil.rmtree(sandbox.root / "images")
    assert sandbox.run() == 0, sandbox.said()
    assert table(sandbox) == table(undisturbed)
    assert list(node_folder.rglob("fetched/*/content"))


def kill_worker(machines: Machines) -> None:
    for process in workers():
        process.kill()


def kill_actor(machines: Machines) -> None:
    for process in actors():
        process.kill()


def kill_raylet(machines: Machines) -> None:
    machines.kill_raylet(machines.nodes[0])


def take_node_away(machines: Machines) -> None:
    machines.remove(machines.nodes[0])


def stop_actor(machines: Machines) -> None:
    """A machine that hangs: its actor answers nothing for longer than the driver waits, and then goes on."""
    for process in actors():
        stop(process, 20)


def stop_worker_for_a_moment(machines: Machines) -> None:
    for process in workers():
        stop(process, 3)


def stop(process: psutil.Process, seconds: float) -> None:
    process.suspend()
    threading.Timer(seconds, go_on, (process,)).start()


def go_on(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.resume()


FAULTS: dict[str, Callable[[Machines], None]] = {
    "worker killed": kill_worker,
    "actor killed": kill_actor,
    "raylet killed": kill_raylet,
    "node taken away": take_node_away,
    "actor stopped": stop_actor,
    "worker slow": stop_worker_for_a_moment,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("epochs", [1, 3, 6, 9])
def test_a_fault_costs_time_alone(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox, fault: str, epochs: int
) -> None:
    machines.add()
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SHORT)
    started = time.monotonic()
    process = sandbox.start()
    after_epoch(sandbox, epochs)
    seen = sandbox.epochs_on_disk()
    FAULTS[fault](machines)
    if not machines.nodes:
        machines.add()
    ended_well(process, sandbox)
    check(sandbox, undisturbed, seen)
    print(f"\n{fault} after {epochs} epochs: {time.monotonic() - started:.0f} s in all")


@pytest.mark.parametrize(("epochs", "options"), [(1, ()), (4, ("--shared", "files")), (7, ())])
def test_a_killed_driver_takes_its_actors_along_and_goes_on(
    machines: Machines,
    tmp_path: Path,
    node_folder: Path,
    undisturbed: Sandbox,
    epochs: int,
    options: tuple[str, ...],
) -> None:
    machines.add()
    sandbox = sandbox_on(machines, tmp_path, node_folder, *options, **SHORT)
    process = sandbox.start()
    after_epoch(sandbox, epochs)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    seen = sandbox.epochs_on_disk()
    await_that(lambda: not workers(), within_s=30)
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed, seen)
    assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


def test_a_node_that_joins_gets_work(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed_at_random: Sandbox
) -> None:
    machines.add()
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SEVERAL)
    process = sandbox.start()
    after_epoch(sandbox, 1)
    machines.add()
    await_that(lambda: len(workers()) == 2, sandbox)
    ended_well(process, sandbox)
    check(sandbox, undisturbed_at_random, {})


def test_a_node_that_leaves_gives_its_trial_to_the_other(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed_at_random: Sandbox
) -> None:
    machines.add()
    machines.add()
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SEVERAL)
    process = sandbox.start()
    after_epoch(sandbox, 3)
    seen = sandbox.epochs_on_disk()
    machines.remove(machines.nodes[1])
    ended_well(process, sandbox)
    check(sandbox, undisturbed_at_random, seen)


def test_no_node_with_room_is_refused_at_once(machines: Machines, tmp_path: Path, node_folder: Path) -> None:
    machines.add()
    engine = {"name": "ray", "node_folder": str(node_folder), "cpus_per_trial": 64}
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SHORT, engine=engine)
    assert sandbox.run() == 4
    assert "no node of the Ray cluster has room for a trial with 64 CPUs" in sandbox.said()


def test_no_cluster_is_one_clear_line(tmp_path: Path, node_folder: Path) -> None:
    sandbox = Sandbox.make(tmp_path, **SHORT)
    sandbox.options = ("--engine", "ray", "--ray-address", "127.0.0.1:1")
    assert sandbox.run() == 4
    assert "no Ray cluster at the address '127.0.0.1:1'" in sandbox.said()
    assert "Traceback" not in sandbox.said()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_node_whose_disk_is_full_is_given_up_by_name_and_nothing_is_lost(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed: Sandbox
) -> None:
    machines.add()
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SHORT)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", node_folder], check=True)
    process = sandbox.start()
    try:
        after_epoch(sandbox, 2)
        seen = sandbox.epochs_on_disk()
        with suppress(OSError), (node_folder / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        assert process.wait(120) == 4  # it was the only node
        assert "cannot be written: No space left on device" in sandbox.said()
        (node_folder / "filler").unlink()
        assert sandbox.run() == 0, sandbox.said()
        check(sandbox, undisturbed, seen)
    finally:
        end_group(process)
        subprocess.run(["umount", "-l", node_folder], check=True)


def test_a_node_that_sees_other_images_is_refused_by_name(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    machines.add()
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SHORT)
    picture = next((sandbox.root / "images").rglob("*.png"))
    content = picture.read_bytes()
    process = sandbox.start()
    await_that(lambda: "0 of 4 trials done" in sandbox.said(), sandbox)
    picture.write_bytes(content + b"\0")  # as on a machine whose copy differs
    assert process.wait(120) == 4
    end_group(process)
    assert f"changed: {picture.relative_to(sandbox.root / 'images')}" in sandbox.said()
    picture.write_bytes(content)
    assert sandbox.run() == 0, sandbox.said()


def test_the_files_of_a_large_network_pass_through_a_small_object_store(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    machines.add()
    search = {"backbone": "resnet50", "image_size": 32, "batch_size": 16, "trainable": "all"}
    sandbox = sandbox_on(machines, tmp_path, node_folder, budget={"trials": 1, "epochs": 2}, search=search)
    assert sandbox.run() == 0, sandbox.said()
    ((row,), weights) = sandbox.rows(), list(sandbox.root.rglob("mlruns/**/*.safetensors"))
    assert row.epochs == 2
    assert weights[0].stat().st_size > 80_000_000


def test_a_head_that_is_gone_ends_the_sweep_and_another_cluster_goes_on(
    machines: Machines, tmp_path: Path, node_folder: Path, undisturbed_at_random: Sandbox
) -> None:
    from ray.cluster_utils import Cluster

    mortal: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SEVERAL)
    at_home = sandbox.options
    sandbox.options = ("--ray-address", mortal.address)
    process = sandbox.start()
    after_epoch(sandbox, 2)
    seen = sandbox.epochs_on_disk()
    mortal.head_node.kill_gcs_server(check_alive=False)
    code = process.wait(240)
    end_group(process)
    mortal.shutdown()
    if code:  # it may have ended before it needed the head again
        assert code == 4, sandbox.said()
        assert "the head of the Ray cluster" in sandbox.said()
        sandbox.options = at_home
        machines.add()
        assert sandbox.run() == 0, sandbox.said()
    check(sandbox, undisturbed_at_random, seen)


def test_a_second_study_says_that_it_waits_for_room_and_goes_on_when_the_first_has_ended(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    machines.add()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = sandbox_on(machines, tmp_path / "first", node_folder, budget={"trials": 1, "epochs": 2000})
    second = sandbox_on(machines, tmp_path / "second", node_folder, **SHORT)
    begun = first.start()
    await_that(lambda: "trial 0 epoch" in first.said(), first)
    waiting = second.start()
    await_that(lambda: "the Ray cluster has no room for a trial now" in " ".join(second.said().split()), second)
    assert "trial 0 started" not in second.said()
    begun.send_signal(signal.SIGTERM)
    assert begun.wait(60) == 75
    ended_well(waiting, second)


def test_a_second_study_of_one_worker_takes_the_node_that_the_first_leaves_free(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    machines.add()
    machines.add()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    long = {"budget": {"trials": 1, "epochs": 3000}}
    first = sandbox_on(machines, tmp_path / "first", node_folder, "--workers", "1", **long)
    second = sandbox_on(machines, tmp_path / "second", node_folder, "--workers", "1", **SHORT)
    begun = first.start()
    after_epoch(first, 1)
    ended_well(second.start(), second)
    assert begun.poll() is None, first.said()
    end_group(begun)


def test_a_trial_that_gets_no_gpu_sees_none_on_a_node_that_has_some(
    machines: Machines, tmp_path: Path, node_folder: Path
) -> None:
    machines.add(num_gpus=2)
    engine = {"name": "ray", "node_folder": str(node_folder), "gpus_per_trial": 0}
    sandbox = sandbox_on(machines, tmp_path, node_folder, **SHORT, engine=engine, device="auto")
    process = sandbox.start()
    after_epoch(sandbox, 1)
    assert [worker.environ().get("CUDA_VISIBLE_DEVICES") for worker in workers()] == [""]
    ended_well(process, sandbox)
