"""A storage that also holds studies of other programs, or one that is damaged: the others can be used as ever."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from sweeper.addresses import sqlite_address
from sweeper.cli import app
from sweeper.commands.studies import open_study
from sweeper.errors import DamagedFile, StudyError, StudyNotFound
from sweeper.paths import Workspace
from sweeper.search.stored_studies import study_names
from sweeper.search.study_store import StudyStore
from tests.search.test_study_store import run_to_end, sweep_of


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage with a study `s` of sweeper, and then one of another program that is called `mine`."""
    monkeypatch.chdir(tmp_path)
    url = sqlite_address(Workspace(tmp_path).optuna_database)
    store = StudyStore.create_or_load(url, sweep_of())
    run_to_end(store)
    store.close()
    foreign = optuna.create_study(storage=url, study_name="mine")
    foreign.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    return url


def run(*words: str) -> str:
    done = CliRunner().invoke(app, [*words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_a_study_of_another_program_is_not_listed(url: str) -> None:
    assert study_names(url) == ["s"]
    assert "mine" not in run("list")
    assert [study["study"] for study in json.loads(run("list", "--json"))["studies"]] == ["s"]


def test_without_a_name_the_latest_study_of_sweeper_is_meant(url: str) -> None:
    assert "study s: 6 of 6 trials ended" in run("status")


def test_a_study_of_another_program_is_refused_where_it_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"the study mine in sqlite:.* was not made by sweeper; take another"):
        open_study(Workspace(tmp_path), None, "mine")
    with pytest.raises(StudyError, match="was not made by sweeper"):
        StudyStore.create_or_load(url, sweep_of(study="mine"))
    optuna.create_study(storage=url, study_name="empty", direction="minimize")  # the accuracy is maximized
    with pytest.raises(StudyError, match="was not made by sweeper"):
        StudyStore.create_or_load(url, sweep_of(study="empty"))


def test_a_name_that_no_study_has_is_answered_with_those_that_can_be_opened(url: str, tmp_path: Path) -> None:
    with pytest.raises(StudyNotFound, match=r"no study is called x; the studies are: s$"):
        open_study(Workspace(tmp_path), None, "x")


def damage(url: str, study: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        of_study = "(SELECT study_id FROM studies WHERE study_name = :study)"
        change = f"UPDATE study_user_attributes SET value_json = '{{' WHERE key = 'sweep' AND study_id = {of_study}"  # noqa: S608
        connection.execute(text(change), {"study": study})
    engine.dispose()


def test_a_damaged_study_is_warned_of_and_the_others_are_listed(url: str) -> None:
    other = StudyStore.create_or_load(url, sweep_of(study="t"))
    other.close()
    damage(url, "t")
    shown = run("list")
    assert "the study t is left out: the study storage" in shown
    assert "6/6" in shown


def test_where_no_study_can_be_read_listing_them_fails(url: str) -> None:
    damage(url, "s")
    assert isinstance(CliRunner().invoke(app, ["list"]).exception, DamagedFile)
