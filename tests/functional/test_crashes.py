"""kill -9 at random moments, and then the same command again: nothing lost, nothing twice, nothing changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.functional.chaos import Sandbox, Storm, check

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


def test_a_sweep_killed_three_times_equals_one_that_was_not(tmp_path: Path, created: Path) -> None:
    sandboxes = [Sandbox.make(tmp_path / name, **SHORT) for name in ("whole", "battered")]
    for sandbox in sandboxes:
        shutil.copy(created, sandbox.workspace.mlflow_database)  # making one takes half of so short a sweep
    whole, sandbox = sandboxes
    assert whole.run() == 0, whole.said()
    storm = Storm(sandbox, seed=1)
    storm.rage(3, moments=("mid-epoch", "checkpoint", "outcome"))
    assert storm.kills.total() == 3
    assert sandbox.run() == 0, sandbox.said()
    check(sandbox, whole, storm.seen)


@pytest.mark.slow
@pytest.mark.parametrize("study", range(STUDIES))
def test_a_sweep_killed_many_times_equals_one_that_was_not(tmp_path: Path, undisturbed: Sandbox, study: int) -> None:
    sandbox, storm = battered(tmp_path, seed=1000 * SEED + study + 10, kills=-(-KILLS // STUDIES))
    print(f"\n{storm.kills.total()} kills:", ", ".join(f"{count} x {kind}" for kind, count in storm.kills.items()))
    check(sandbox, undisturbed, storm.seen)
