"""The scripts of docs/cluster.md on a real SLURM: a job that is pre-empted, and Ray on the nodes of an allocation."""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.chaos import REPOSITORY, STUDY, Sandbox, check, recorded, table
from tests.slurm.scheduler import Job, Scheduler, missing, slurm

pytestmark = pytest.mark.slow

PATIENCE_S = 240.0
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY")
SPACE: dict[str, Any] = {"budget": {"trials": 3, "epochs": 40}, "pruner": "none"}
PAGE = REPOSITORY / "docs" / "cluster.md"


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler]:
    lacking = missing()
    if lacking:
        pytest.skip(lacking)
    with slurm() as scheduler:
        yield scheduler


@pytest.fixture(scope="module")
def reference(scheduler: Scheduler, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """The same sweep, undisturbed."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("reference"), **SPACE)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment with the programs `sweeper` and `ray` of this source, and nodes that only this machine reaches."""
    programs = tmp_path / "bin"
    programs.mkdir()
    lines = {
        "sweeper": f'exec "{sys.executable}" -m sweeper "$@"',
        "ray": f'exec "{sys.executable}" -m ray.scripts.scripts "$@"',
        "hostname": "echo 127.0.0.2 ::1",  # by 127.0.0.1 Ray means the address at which others reach the machine
    }
    for name, line in lines.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    return {**Sandbox(tmp_path).variables(), "PATH": f"{programs}:{os.environ['PATH']}"}


def script(name: str) -> str:
    """Return a script of the page, by the name that stands before it."""
    found = re.search(rf"^`{name}`.*?```bash\n(.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{PAGE} has no {name}"
    return found[1]


def in_one_line(text: str) -> str:
    """Return the script as the page says that it may be where SLURM requeues by the exit code."""
    found = re.search(r"the one\s+line `(exec [^`]*)`", PAGE.read_text())
    assert found
    return text[: text.index("sweeper run")] + found[1] + "\n"


def wait_until(true: Callable[[], bool], said: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)


def output_of(job: Job, folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.glob(f"*-{job.number}.out"))


def most_at_once(said: str) -> int:
    """Return how many trials trained at the same time."""
    steps = [
        1 if what == "started" else -1 for what in re.findall(r"^trial \d+ (started|complete)", said, re.MULTILINE)
    ]
    return max(itertools.accumulate(steps))


def preempt(scheduler: Scheduler, job: Job, folder: Path) -> None:
    """Let a job of more weight need both nodes for a moment."""
    restarts = int(job.facts()["Restarts"])
    urgent = scheduler.submit(
        "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true", folder=folder
    )
    wait_until(lambda: urgent.state in ENDED, lambda: f"{urgent.facts()}\n{output_of(job, folder)}")
    wait_until(lambda: int(job.facts()["Restarts"]) == restarts + 1, lambda: str(job.facts()))


@pytest.mark.parametrize("by_itself", [False, True], ids=["requeued by the script", "requeued by the exit code"])
def test_a_sweep_that_is_preempted_twice_goes_on_and_gives_what_an_undisturbed_one_gives(
    by_itself: bool, scheduler: Scheduler, variables: dict[str, str], tmp_path: Path, reference: Sandbox
) -> None:
    sandbox = Sandbox.make(tmp_path / "work", **SPACE)
    scheduler.requeue_by_itself(on=by_itself)
    text = script("sweep.sbatch")
    (sandbox.root / "sweep.sbatch").write_text(in_one_line(text) if by_itself else text)
    job = scheduler.submit("sweep.sbatch", "space.yaml", folder=sandbox.root, variables=variables)

    def said() -> str:
        return output_of(job, sandbox.root)

    seen: dict[tuple[int, int], int] = {}
    for moment in ("trial 0 epoch 4/", "trial 1 epoch 8/"):
        wait_until(lambda moment=moment: moment in said(), said)  # type: ignore[misc]
        preempt(scheduler, job, sandbox.root)
        seen = {**sandbox.epochs_on_disk(), **seen}
    wait_until(lambda: job.state in ENDED, said)

    assert (job.facts()["JobState"], job.facts()["ExitCode"]) == ("COMPLETED", "0:0"), said()
    assert said().count("stopped by SIGTERM; run the same command again to continue: sweeper run space.yaml") == 2
    assert "was killed" not in said()
    assert {(0, 4), (1, 8)} <= seen.keys()
    check(sandbox, reference, seen)


def test_a_sweep_runs_by_ray_on_both_nodes_of_an_allocation(
    scheduler: Scheduler, variables: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    engine = {"name": "ray", "node_folder": str(tmp_path / "node"), "cpus_per_trial": 2}  # one slot a node
    sandbox = Sandbox.make(tmp_path / "work", engine=engine, budget={"trials": 6, "epochs": 10}, pruner="none")
    (sandbox.root / "ray.sbatch").write_text(script("ray.sbatch"))
    job = scheduler.submit("ray.sbatch", "space.yaml", folder=sandbox.root, variables=variables)
    wait_until(lambda: job.state in ENDED, lambda: output_of(job, sandbox.root))
    said = output_of(job, sandbox.root)
    assert (job.state, job.facts()["NumNodes"]) == ("COMPLETED", "2"), said
    assert most_at_once(said) == 2
    assert [row["state"] for row in table(sandbox)] == ["complete"] * 6
    assert set(recorded(sandbox)) == {STUDY, *(f"trial-{number:04d}" for number in range(6))}
