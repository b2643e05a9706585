"""MLflow's database can be read whatever its last user was doing when it died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sweeper.tracking.relocation import holds_run, old_places

KILLED_WHILE_WRITING = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.executemany("UPDATE runs SET run_uuid = ? WHERE run_uuid = ?", [("x", f"run{n}") for n in range(2000)])
os._exit(9)
"""


def test_a_process_killed_while_it_wrote_does_not_keep_the_database_from_being_read(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    tables = (
        "CREATE TABLE runs (run_uuid TEXT)",
        "CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)",
        "CREATE TABLE experiment_tags (experiment_id INTEGER, key TEXT, value TEXT)",
        "WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n LIMIT 2000) "
        "INSERT INTO runs SELECT 'run' || x FROM n",
    )
    make = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as c:\n    [c.execute(q) for q in sys.argv[2:]]"
    subprocess.run([sys.executable, "-c", make, str(database), *tables], check=True)
    died = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(database)], check=False)
    assert died.returncode == 9
    assert database.with_name("mlflow.db-journal").stat().st_size > 0
    assert old_places(database) == []
    assert holds_run(database, "run7")
