"""A database that another program keeps locked: waited for, or reported; and the study goes on afterwards."""

from __future__ import annotations

import sqlite3
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from sweeper.errors import StudyError
from sweeper.search import storage
from sweeper.search.stored_studies import study_names
from sweeper.search.study_store import StudyStore
from tests.search.asking import next_trial
from tests.search.test_study_store import run_to_end, sweep_of


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "optuna.db"


def test_a_database_locked_for_a_while_is_waited_for(database: Path) -> None:
    store = StudyStore.create_or_load(f"sqlite:///{database}", sweep_of())
    intruder = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
    intruder.execute("BEGIN EXCLUSIVE")
    threading.Timer(1.0, lambda: intruder.execute("ROLLBACK")).start()
    run_to_end(store)
    assert store.remaining() == 0


def test_a_database_locked_for_good_is_reported_and_the_study_goes_on_later(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LOCK_PATIENCE_S", 0.2)
    url = f"sqlite:///{database}"
    store = StudyStore.create_or_load(url, sweep_of())
    spec = next_trial(store)
    assert spec is not None
    intruder = sqlite3.connect(database, isolation_level=None)
    intruder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StudyError, match=r"database is locked.*no other program keeps it locked"):
        store.report(spec.number, 1, 0.5)
    intruder.execute("ROLLBACK")
    again = StudyStore.create_or_load(url, sweep_of())
    again.requeue_interrupted()
    assert next_trial(again) == spec
    run_to_end(again)
    assert len(again.rows()) == 6


def test_a_database_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in place of a folder")
    with pytest.raises(StudyError, match="cannot be used"):
        StudyStore.create_or_load(f"sqlite:///{tmp_path / 'file' / 'optuna.db'}", sweep_of())


def test_a_server_that_cannot_be_used_names_what_may_be_wrong_with_its_address() -> None:
    advice = "password, database and certificate in OPTUNA_STORAGE or --storage are right"
    address = "postgresql+psycopg://ada:wrong@127.0.0.1/optuna"
    with pytest.raises(StudyError, match=advice), storage.storage_errors(address):
        raise OperationalError("SELECT 1", {}, ConnectionError("connection refused"))


def test_a_client_of_postgresql_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StudyError, match=r"pip install -c constraints.txt -e '\.\[postgres\]'"):
        study_names("postgresql+psycopg://ada@127.0.0.1/optuna")
