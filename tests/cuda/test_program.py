"""The program on machines with GPUs that are not there: which process opens which GPU, and what happens to bad ones."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cuda.stand_in import KERNELS, StandIn

REPOSITORY = Path(__file__).resolve().parents[2]


def space(folder: Path, **changes: Any) -> None:
    content = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "device": "cuda",
        "budget": {"trials": 4, "epochs": 2},
        "pruner": "none",
        "model_files": [str(KERNELS)],
        "search": {"backbone": "resnet10t", "image_size": 32, "batch_size": 128, "weight_decay": {"float": [0, 0.1]}},
        **changes,
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(content))


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "sweeper", "run", "space.yaml", "--no-report", *options]


def environment(stand_in: StandIn, folder: Path, **machine: str) -> dict[str, str]:
    files = {"log": str(folder / "touched"), "state": str(folder / "memory")}
    return stand_in.environment(**files, **machine) | {"PYTHONPATH": str(REPOSITORY)}


def run(stand_in: StandIn, folder: Path, *options: str, **machine: str) -> subprocess.CompletedProcess[str]:
    env = environment(stand_in, folder, **machine)
    return subprocess.run(command(*options), cwd=folder, env=env, capture_output=True, text=True, check=False)


def gpus_of_processes(folder: Path) -> list[set[int]]:
    """Return the GPUs that each process has opened."""
    opened: dict[str, set[int]] = defaultdict(set)
    for line in (folder / "touched").read_text().splitlines():
        process, gpu, _ = line.split(" ", 2)
        opened[process].add(int(gpu))
    return list(opened.values())


def test_each_gpu_gets_a_worker_and_no_worker_opens_another_gpu(stand_in: StandIn, tmp_path: Path) -> None:
    space(tmp_path)
    done = run(stand_in, tmp_path, gpus="3")
    assert done.returncode == 0, done.stderr
    assert "study s: 4 complete" in done.stdout
    assert sorted(map(sorted, gpus_of_processes(tmp_path))) == [[0], [1], [2]]


@pytest.mark.slow
def test_more_workers_than_gpus_share_them_and_remember_no_limits(stand_in: StandIn, tmp_path: Path) -> None:
    space(tmp_path, search={"backbone": "resnet10t", "image_size": 32, "batch_size": 512})
    done = run(stand_in, tmp_path, "--workers", "4", gpus="2", mb="400")
    assert done.returncode == 0, done.stderr
    assert sorted(map(sorted, gpus_of_processes(tmp_path))) == [[0], [0], [1], [1]]
    assert not (tmp_path / ".sweeper" / "micro-batches").exists()


@pytest.mark.slow
def test_two_gpus_of_different_size_get_as_many_trials_as_each_has_room_for(stand_in: StandIn, tmp_path: Path) -> None:
    space(tmp_path, budget={"trials": 8, "epochs": 3})
    done = run(stand_in, tmp_path, "--workers", "auto", gpus="2", mb="1500,80000")
    assert done.returncode == 0, done.stderr
    assert "study s: 8 complete" in done.stdout
    assert all(len(opened) == 1 for opened in gpus_of_processes(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("bad", [{"broken": "0"}, {"broken": "1"}, {"mb": "80000,5"}, {"mb": "5,80000"}])
def test_a_gpu_that_is_broken_or_full_costs_a_worker_and_not_the_sweep(
    stand_in: StandIn, tmp_path: Path, bad: dict[str, str]
) -> None:
    space(tmp_path)
    done = run(stand_in, tmp_path, gpus="2", **bad)
    assert done.returncode == 0, done.stderr
    assert "study s: 4 complete" in done.stdout
    why = "its memory is full" if "mb" in bad else "CUDA error: unspecified launch failure"
    assert re.search(rf"one worker less: cuda:\d cannot train: {why}.*; the sweep continues with 1", done.stdout)


@pytest.mark.slow
def test_without_any_gpu_that_works_the_study_stops_with_the_reason(stand_in: StandIn, tmp_path: Path) -> None:
    space(tmp_path)
    done = run(stand_in, tmp_path, gpus="2", mb="5")
    assert done.returncode == 4
    assert "no worker can start" in done.stderr
    assert "its memory is full" in done.stderr


@pytest.mark.slow
def test_a_batch_that_does_not_fit_goes_through_in_parts_and_the_limit_is_remembered(
    stand_in: StandIn, tmp_path: Path
) -> None:
    space(tmp_path, search={"backbone": "resnet10t", "image_size": 32, "batch_size": 512})
    done = run(stand_in, tmp_path, gpus="1", mb="260")
    assert done.returncode == 0, done.stderr
    (limits,) = (tmp_path / ".sweeper" / "micro-batches").glob("*.json")
    assert re.search(r'"training":\d+', limits.read_text())
    assert "study s: 4 complete" in done.stdout


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_from_the_checkpoints_of_its_gpu(stand_in: StandIn, tmp_path: Path) -> None:
    space(tmp_path, budget={"trials": 2, "epochs": 30})
    env = environment(stand_in, tmp_path, gpus="2")
    with (tmp_path / "first.log").open("wb") as log:
        first = subprocess.Popen(command(), cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while "epoch 3/30" not in (tmp_path / "first.log").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
    done = run(stand_in, tmp_path, gpus="2")
    assert done.returncode == 0, done.stderr
    assert "study s: 2 complete" in done.stdout
    again = re.findall(r"trial (\d) epoch (\d+)/30", done.stdout)
    for trial in "01":
        assert [int(epoch) for number, epoch in again if number == trial] == list(range(1, 31))


@pytest.mark.sweeps
def test_a_plan_tells_the_energy_of_all_gpus_by_the_counters_of_their_driver(stand_in: StandIn, tmp_path: Path) -> None:
    space(tmp_path)
    env = environment(stand_in, tmp_path, gpus="2", watts="300")
    plan = [sys.executable, "-m", "sweeper", "plan", "space.yaml", "--json"]
    done = subprocess.run(plan, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    costs = json.loads(done.stdout)["costs"]
    assert "GPUs" in costs["powered"]
    if costs["powered"] == "GPUs":  # else the processors of this machine tell theirs as well
        assert costs["watts"] == pytest.approx(600, rel=0.02)


@pytest.mark.slow
def test_the_use_of_gpus_is_watched_and_in_mlflow_also_where_one_does_not_tell(
    stand_in: StandIn, tmp_path: Path
) -> None:
    space(tmp_path, budget={"trials": 3, "epochs": 5000})
    env = environment(stand_in, tmp_path, gpus="3", busy="60,-,20")
    wanted = {("system/gpu_0_utilization_percentage", 60.0), ("system/gpu_2_utilization_percentage", 20.0)}
    with (tmp_path / "run.log").open("wb") as log:
        sweep = subprocess.Popen(command(), cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 120
            while gpu_use_in_mlflow(tmp_path) != wanted:
                assert time.monotonic() < deadline, (tmp_path / "run.log").read_text()
                time.sleep(0.2)
            watch = [sys.executable, "-m", "sweeper", "watch", "s"]
            seen = subprocess.run(watch, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        finally:
            sweep.send_signal(signal.SIGINT)
            sweep.wait(60)
    assert "2 GPUs 40% busy on average, the least busy 20%" in seen.stdout, seen.stdout + seen.stderr
    assert "Encountered error" not in (tmp_path / "run.log").read_text()


def gpu_use_in_mlflow(folder: Path) -> set[tuple[str, float]]:
    """Return what the runs have of the use of GPUs; nothing while there is no database yet."""
    query = "SELECT key, value FROM metrics WHERE key LIKE 'system/gpu%utilization%'"
    try:
        with closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True)) as database:
            return set(database.execute(query).fetchall())
    except sqlite3.OperationalError:
        return set()


BORROWED = """
import sweeper.library.exported, torch
from sweeper.training.device import borrowed_device

torch.cuda.set_device(1)
with borrowed_device("cuda:0") as device:
    print(device, torch.cuda.current_device())
print(torch.cuda.current_device())
"""


def test_a_program_that_uses_the_library_keeps_its_current_gpu(stand_in: StandIn) -> None:
    command = [sys.executable, "-c", BORROWED]
    done = subprocess.run(command, cwd=REPOSITORY, env=stand_in.environment(gpus="2"), capture_output=True, text=True)
    assert done.stdout.split() == ["cuda:0", "0", "1"], done.stderr
