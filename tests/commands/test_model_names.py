"""What a model is taken for that is named on the command line: a trial, or the folder of an export."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.addresses import sqlite_address
from sweeper.cli import app
from sweeper.commands.studies import open_trial
from sweeper.errors import DatasetError, NoWinner, StudyError, StudyNotFound
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from tests.search.test_study_store import run_to_end, sweep_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study `d1`, and the folder of its images, which is called the same."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d1").mkdir()
    StudyStore.create_or_load(sqlite_address(Workspace(tmp_path).optuna_database), sweep_of(study="d1")).close()
    return tmp_path


def failure(model: str) -> BaseException | None:
    return CliRunner().invoke(app, ["evaluate", model]).exception


def test_a_slash_that_a_shell_has_added_to_the_name_of_a_study_changes_nothing(folder: Path) -> None:
    assert isinstance(failure("d1"), NoWinner)
    assert isinstance(failure("d1/"), NoWinner)
    store = StudyStore.load(sqlite_address(Workspace(folder).optuna_database), "d1")
    run_to_end(store)
    assert open_trial(Workspace(folder), None, "d1/", None)[0].sweep.study == "d1"


@pytest.mark.usefixtures("folder")
def test_what_is_neither_a_folder_nor_the_name_of_a_trial_is_no_export() -> None:
    error = failure("exports/none")
    assert isinstance(error, StudyError)
    assert "a trial is named STUDY" in str(error)


def test_the_folder_of_an_export_is_one_with_a_slash_too(folder: Path) -> None:
    (folder / "d1" / "config.json").write_text("{}")
    assert isinstance(failure("d1/"), DatasetError)


@pytest.mark.parametrize("command", [("evaluate",), ("best",), ("reproduce",), ("diff", "d1")])
def test_a_run_that_mlflow_does_not_have_is_a_result_that_is_not_there(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(workspace.root)
    run_to_end(StudyStore.create_or_load(sqlite_address(workspace.optuna_database), sweep_of(study="d1")))
    error = CliRunner().invoke(app, [*command, "0" * 32]).exception
    assert isinstance(error, StudyNotFound), error
    assert f"has no run {'0' * 32}" in str(error)
