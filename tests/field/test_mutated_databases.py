"""SQLite's files with bytes flipped, cut, added or replaced: the same numbers, or one line that says so.

SQLite keeps no digests: what a study has reached bears one of ours, and what stands there twice is compared.
The mutations and their seeds are those of `test_mutated_files.py`.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import chdir, suppress

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.errors import SweeperError
from sweeper.results import TrialRow
from tests.field.folders import Here
from tests.field.test_mutated_files import mutated

FLIPS = range(150)
"""Seeds of bits that are flipped in what the database holds, and not in pages that hold nothing."""

SEEDS = range(60)
COMMANDS = (["status", "s", "--all"], ["best", "s"], ["doctor", "s"])


@pytest.fixture
def study(here: Here) -> Here:
    here.run(3)
    return here


def told(here: Here, command: list[str]) -> str:
    """Run a command; whatever it fails with is an error of ours on one line."""
    with chdir(here.root):
        done = CliRunner().invoke(app, command)
    failed = done.exception
    if isinstance(failed, SweeperError):
        assert "\n" not in str(failed), str(failed)
        return str(failed)
    assert failed is None or isinstance(failed, SystemExit), (command, failed)
    return done.output


def flipped(content: bytes, seed: int, places: list[int]) -> bytes:
    dice = random.Random(seed)
    changed = bytearray(content)
    changed[dice.choice(places)] ^= 1 << dice.randrange(8)
    return bytes(changed)


def damages(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Give a seed and a damaged file, over and over."""
    places = [place for place, byte in enumerate(content) if byte]
    for seed in FLIPS:
        yield seed, flipped(content, seed, places)
    for seed in SEEDS:
        yield seed, mutated(content, seed)


def reached(rows: list[TrialRow]) -> list[object]:
    """Return what a ranking shows; a trial that is no longer known to have ended has no number."""
    return [(row.number, row.value, row.best_epoch, row.outcome and row.outcome.best_metrics) for row in rows]


def read(here: Here) -> list[TrialRow]:
    return here.store.rows()


@pytest.mark.slow
def test_a_damaged_study_storage_gives_the_same_numbers_or_is_reported(study: Here) -> None:
    file = study.workspace.optuna_database
    content, rows = file.read_bytes(), read(study)
    known = {(row.number, row.value): row for row in rows}
    for seed, damaged in damages(content):
        file.write_bytes(damaged)
        for leftover in file.parent.glob("optuna.db-*"):
            leftover.unlink()
        found: list[TrialRow] = []
        with suppress(SweeperError):
            found = read(study)
        for row in found:
            assert row.outcome is None or (row.number, row.value) in known, (seed, row)
        answers = [told(study, command) for command in COMMANDS]
        if found and [row.params for row in found] != [row.params for row in rows]:
            assert "damaged" in answers[-1] or "disagree" in answers[-1], (seed, answers[-1])
    file.write_bytes(content)
    assert read(study) == rows


@pytest.mark.slow
def test_a_damaged_mlflow_database_is_reported_and_changes_no_number_of_the_study(study: Here) -> None:
    file = study.workspace.mlflow_database
    content, rows = file.read_bytes(), read(study)
    for seed, damaged in damages(content):
        if seed % 4:
            continue
        file.write_bytes(damaged)
        for command in (*COMMANDS, ["sync", "s"]):
            told(study, command)
        assert read(study) == rows
    file.write_bytes(content)


def test_a_number_that_has_changed_in_the_storage_is_reported(study: Here) -> None:
    change(study, "UPDATE trial_user_attributes SET value_json = replace(value_json, '0.5', '0.9')")
    with pytest.raises(SweeperError, match=r"holds something else of trial 0 than was written there \(not as"):
        read(study)


def test_a_setting_that_has_changed_in_the_storage_is_reported_by_the_doctor(study: Here) -> None:
    change(study, "UPDATE trial_params SET param_value = 0.123 WHERE trial_id = 2")
    (what,) = study.wrong()
    assert what == "the settings of trial 1 stand in two places of the storage, and disagree"


def test_a_value_that_has_changed_in_the_storage_is_reported_before_a_sampler_learns_from_it(study: Here) -> None:
    change(study, "UPDATE trial_values SET value = 0.9")
    with pytest.raises(SweeperError, match=r"its value is 0\.9 in one place and 0\.5 in another"):
        study.run(4)


def change(here: Here, statement: str) -> None:
    database = sqlite3.connect(here.workspace.optuna_database)
    with database:
        assert database.execute(statement).rowcount
    database.close()


def test_what_sqlite_quotes_of_a_damaged_schema_is_left_out(study: Here) -> None:
    file = study.workspace.mlflow_database
    file.write_bytes(file.read_bytes().replace(b"key VARCHAR(250) NOT NULL", b"key VARCHAR(250) `OT NULL"))
    told(study, ["status", "s"])
    assert "malformed database schema" in told(study, ["doctor", "s"])
    assert "MLflow's database" in told(study, ["sync", "s"])
