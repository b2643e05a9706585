"""A sweep outlasts whoever reads what it prints."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.results import TrialState
from sweeper.search.study_store import StudyStore
from tests.functional.program import environment

pytestmark = pytest.mark.sweeps

SPACE = """study: s
dataset: {builtin: digits, limit: {train_images: 200, val_images: 100}}
budget: {trials: 2, epochs: 1}
search: {backbone: test_resnet, image_size: 16}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sweeper", *arguments]


def require_whole_study(folder: Path) -> None:
    rows = StudyStore.load(f"sqlite:///{folder / 'optuna.db'}", "s").rows()
    assert [row.state for row in rows] == [TrialState.COMPLETE] * 2


def test_a_sweep_goes_on_when_the_program_behind_the_pipe_ends(folder: Path) -> None:
    read, write = os.pipe()
    sweep = subprocess.Popen(command("run", "space.yaml"), cwd=folder, env=environment(), stdout=write, stderr=write)
    os.close(write)
    assert os.read(read, 1)
    os.close(read)
    assert sweep.wait(120) == 0
    require_whole_study(folder)


def test_a_sweep_goes_on_when_its_terminal_is_closed(folder: Path) -> None:
    ours, theirs = pty.openpty()
    sweep = subprocess.Popen(command("run", "space.yaml"), cwd=folder, env=environment(), stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert sweep.wait(120) == 0
    require_whole_study(folder)


def test_a_sweep_that_begins_without_any_standard_stream_prints_into_no_file(folder: Path) -> None:
    closed = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", *command("run", "space.yaml")]
    assert subprocess.run(closed, cwd=folder, env=environment(), timeout=120, check=False).returncode == 0
    require_whole_study(folder)
    for database in ("optuna.db", "mlflow.db"):
        assert (folder / database).read_bytes().startswith(b"SQLite format 3\0")
