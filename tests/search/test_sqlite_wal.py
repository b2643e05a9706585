"""The study's SQLite file keeps a write-ahead log while a sweep runs, and is a single plain file otherwise."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sweeper.search import sqlite_wal
from sweeper.search.study_store import StudyStore
from tests.search.test_study_store import run_to_end, sweep_of


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "optuna.db"


def mode(database: Path) -> str:
    return str(sqlite3.connect(f"file:{database}?mode=ro", uri=True).execute("PRAGMA journal_mode").fetchone()[0])


def test_the_log_is_there_while_a_study_is_written_and_gone_after_it(database: Path) -> None:
    store = StudyStore.create_or_load(f"sqlite:///{database}", sweep_of())
    assert mode(database) == "wal"
    run_to_end(store)
    store.close()
    assert mode(database) == "delete"
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_what_a_killed_driver_left_in_the_log_is_read(database: Path) -> None:
    url = f"sqlite:///{database}"
    killed = StudyStore.create_or_load(url, sweep_of())
    run_to_end(killed)
    assert database.with_name("optuna.db-wal").stat().st_size > 0
    assert StudyStore.load(url, "s").rows() == killed.rows()


def test_another_program_that_reads_neither_stops_the_end_of_a_study_nor_holds_it_up(database: Path) -> None:
    url = f"sqlite:///{database}"
    store = StudyStore.create_or_load(url, sweep_of())
    run_to_end(store)
    reader = sqlite3.connect(database, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM trials").fetchone()
    store.close()
    assert mode(database) == "wal"
    reader.close()
    assert len(StudyStore.create_or_load(url, sweep_of()).rows()) == 6


def test_a_database_on_a_shared_disk_keeps_the_usual_journal(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_wal, "LOCAL_DISKS", set())
    store = StudyStore.create_or_load(f"sqlite:///{database}", sweep_of())
    assert mode(database) == "delete"
    run_to_end(store)
