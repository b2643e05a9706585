"""What `sweeper reproduce` leaves: nothing at its end, and after a kill nothing for longer than until the next one."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.errors import StudyError
from sweeper.files import write_whole
from sweeper.paths import Workspace
from sweeper.upkeep.reproductions import abandoned, reproduction_folder


def left_by_a_kill(workspace: Workspace) -> Path:
    path = workspace.reproduction("killed")
    write_whole(path / "study" / "trial-0000" / "checkpoint.pt", b"")
    write_whole(path.with_suffix(".lock"), "")
    return path


def test_a_folder_is_there_for_the_block_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with reproduction_folder(workspace) as folder:
        write_whole(folder.path / "file", b"")
    assert not list(workspace.state.iterdir())


def test_what_killed_processes_have_left_is_removed_and_what_runs_is_left_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with reproduction_folder(workspace) as first:
        write_whole(first.path / "file", b"")
        killed = left_by_a_kill(workspace)
        assert abandoned(workspace) == [killed]
        with reproduction_folder(workspace):
            assert not killed.exists()
            assert (first.path / "file").exists()
    assert not list(workspace.state.iterdir())


def test_a_lock_without_a_folder_is_removed_too(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_whole(workspace.reproduction("killed").with_suffix(".lock"), "")
    with reproduction_folder(workspace):
        assert len(workspace.reproductions()) == 1
    assert not list(workspace.state.iterdir())


@pytest.mark.parametrize("words", [("reproduce", "x/1"), ("reproduce", "0" * 32), ("best", "0" * 32)], ids=" ".join)
def test_in_an_empty_folder_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, [*words]).exception
    assert isinstance(error, StudyError)
    assert "has no mlflow.db, which holds the runs of trials" in str(error)
    assert not list(tmp_path.iterdir())
