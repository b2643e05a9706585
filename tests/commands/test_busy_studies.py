"""What is said of a study that a process holds for other work than to run its trials, such as a confirmation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from sweeper.addresses import sqlite_address
from sweeper.cli import app
from sweeper.errors import StudyError, StudyLocked
from sweeper.files import write_whole
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from sweeper.study.holding import held_study
from sweeper.study.lock import other_work, study_lock
from tests.search.test_study_store import sweep_of


@pytest.fixture
def confirmed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A folder with a study that is held as `sweeper confirm` does."""
    monkeypatch.chdir(workspace.root)
    store = StudyStore.create_or_load(sqlite_address(workspace.optuna_database), sweep_of())
    write_whole(workspace.study("s").card, "{}")
    with held_study(workspace, store, which="trains its best trials again"):
        yield workspace
    store.close()


def failure(*words: str) -> BaseException | None:
    return CliRunner().invoke(app, [*words]).exception


@pytest.mark.parametrize("words", [("stop",), ("pause", "s"), ("skip", "s/1"), ("set", "s", "trials=9")], ids=" ".join)
def test_what_takes_no_requests_is_told_at_once_and_how_it_ends(
    confirmed: Workspace, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sweeper.study.requests.wait_for_answer", None)  # is not called
    error = failure(*words)
    assert isinstance(error, StudyError)
    assert "which trains its best trials again and takes no requests meanwhile" in str(error)
    assert "Ctrl-C where it runs" in str(error)
    assert not confirmed.study("s").requests.exists()


@pytest.mark.usefixtures("confirmed")
def test_a_study_that_is_confirmed_is_not_deleted_and_no_useless_command_is_named() -> None:
    error = failure("delete", "s", "--yes")
    assert isinstance(error, StudyLocked)
    assert "which trains its best trials again, and is not deleted" in str(error)
    assert "sweeper stop" not in str(error)


def test_who_runs_trials_does_no_other_work(workspace: Workspace) -> None:
    folder = workspace.study("s")
    assert other_work(folder) is None
    with (
        study_lock(folder, "s", which="checks it"),
        pytest.raises(StudyLocked, match=r"is held by process .*, which checks it; wait for it, or press Ctrl-C"),
        study_lock(folder, "s"),
    ):
        pass
    with study_lock(folder, "s"):
        assert other_work(folder) is None
    with study_lock(folder, "s", which="checks it"):
        assert str(other_work(folder)).endswith(", which checks it")
    assert other_work(folder) is None
