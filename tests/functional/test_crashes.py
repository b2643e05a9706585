"""kill -9 at random moments, and then the same command again: nothing lost, nothing twice, nothing changed."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.functional.chaos import STUDY, Sandbox, Storm, check, end_group

pytestmark = pytest.mark.sweeps

KILLS = int(os.environ.get("CHAOS_KILLS", "40"))
SEED = int(os.environ.get("CHAOS_SEED", "0"))
STUDIES = 4
SHORT = {"budget": {"trials": 3, "epochs": 5}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A sweep that nothing happened to."""
    sandbox = Sandbox.make(tmp_path_factory.mktemp("undisturbed"))
    assert sandbox.run() == 0, sandbox.said()
    assert "pruned" in sandbox.said()
    return sandbox


def battered(root: Path, seed: int, kills: int) -> tuple[Sandbox, Storm]:
    sandbox = Sandbox.make(root)
    storm = Storm(sandbox, seed)
    storm.rage(kills)
    assert sandbox.run() == 0, sandbox.said()
    return sandbox, storm


def test_a_sweep_killed_twice_equals_one_that_was_not(tmp_path: Path, created: Path) -> None:
    sandboxes = [Sandbox.make(tmp_path / name, **SHORT) for name in ("whole", "battered")]
    for sandbox in sandboxes:
        shutil.copy(created, sandbox.workspace.mlflow_database)  # making one takes half of so short a sweep
    whole, sandbox = sandboxes
    assert whole.run() == 0, whole.said()
    storm = Storm(sandbox, seed=1)
    storm.rage(2, moments=("mid-epoch", "checkpoint", "outcome"))
    assert storm.kills.total() == 2
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, whole, storm.seen)


@pytest.mark.slow
@pytest.mark.parametrize("study", range(STUDIES))
def test_a_sweep_killed_many_times_equals_one_that_was_not(tmp_path: Path, undisturbed: Sandbox, study: int) -> None:
    sandbox, storm = battered(tmp_path, seed=1000 * SEED + study + 10, kills=-(-KILLS // STUDIES))
    print(f"\n{storm.kills.total()} kills:", ", ".join(f"{count} x {kind}" for kind, count in storm.kills.items()))
    check(sandbox, undisturbed, storm.seen)


@pytest.mark.slow
def test_an_export_killed_on_the_way_is_made_again_and_leaves_nothing_behind(tmp_path: Path, created: Path) -> None:
    sandbox = Sandbox.make(tmp_path, **SHORT)
    shutil.copy(created, sandbox.workspace.mlflow_database)
    assert sandbox.run() == 0, sandbox.said()
    exports = sandbox.workspace.export(STUDY).parent
    dice = random.Random(SEED)
    for parts in (1, 2, 3, None):  # killed when this many files are written, and once after it has ended
        process = sandbox.start("best", STUDY, "--export")
        while process.poll() is None:
            if parts and len([file for file in exports.rglob("*") if file.is_file()]) >= parts:
                time.sleep(dice.uniform(0, 0.5))
                break
            time.sleep(0.01)
        end_group(process)
    assert sandbox.run("best", STUDY, "--export") == 0, sandbox.said()
    assert [path.name for path in exports.iterdir()] == [STUDY]
    assert (exports / STUDY / "verification.json").exists()
    assert sandbox.run("doctor", STUDY) == 0, sandbox.said()
    assert sandbox.run("status", STUDY) == 0
    assert "disk: .sweeper holds" in sandbox.said()
