"""What `--help` shows, and what `-v` and `--debug` add to standard error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sweeper.cli import app
from tests.functional.program import sweeper


def commands(program: Any = None, name: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    program = program or typer.main.get_command(app)
    yield name
    for part, command in getattr(program, "commands", {}).items():
        yield from commands(command, (*name, part))


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_help_names_no_type_of_python_and_a_switch_has_none(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).stdout
    assert "--help" in shown
    assert not re.findall(r"<\w[\w\[\] ]*>|\b(?:BOOLEAN|bool|str)\b|list\[", shown)


@pytest.mark.sweeps
@pytest.mark.parametrize("words", [("-v", "run", "space.yaml"), ("run", "space.yaml", "-v")], ids=["before", "after"])
def test_more_is_said_on_request_and_on_standard_error_alone(tmp_path: Path, words: tuple[str, ...]) -> None:
    space = "study: s\ndataset: {builtin: digits, limit: {train_images: 100, val_images: 50}}\n"
    space += "budget: {trials: 1, epochs: 1}\nsearch: {backbone: test_resnet, image_size: 16}\n"
    (tmp_path / "space.yaml").write_text(space)
    run = sweeper(*words, "--no-report", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert re.search(r"sweeper\.study\.run: study s in sqlite:///.*optuna\.db, its records go to", run.stderr)
    assert re.search(r"sweeper\.data\.cache: decoded images: .*\.npy", run.stderr)
    assert "worker 0 started on device 0, process" in run.stderr
    assert "sweeper.study.run:" not in run.stdout


def test_debug_shows_where_an_error_comes_from_and_keeps_passwords_out(tmp_path: Path) -> None:
    address = "postgresql://me:hunter2@127.0.0.1:1/x"
    plain = sweeper("status", "s", "--storage", address, folder=tmp_path)
    debug = sweeper("status", "s", "--storage", address, "--debug", folder=tmp_path)
    assert plain.returncode == debug.returncode != 0
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert "hunter2" not in debug.stderr
    assert debug.stderr.strip().splitlines()[-1] == plain.stderr.strip().splitlines()[-1]
