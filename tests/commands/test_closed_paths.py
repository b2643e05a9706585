"""A path that may not be looked up, and a command that nobody is there to answer, end in a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeper import cli
from sweeper.commands.init import _written_to
from sweeper.config.dataset import CsvConfig
from sweeper.errors import DatasetError, DiskError
from sweeper.predict.inputs import find_inputs


def denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", "/closed/x")


def test_a_path_that_may_not_be_looked_up_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "app", denied)
    monkeypatch.setattr(cli, "heed_sigterm", lambda: None)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == DiskError.exit_code
    assert "error: /closed/x: permission denied; ask for access" in capsys.readouterr().err


def test_an_image_that_may_not_be_looked_up_is_an_error_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(DatasetError, match=r"/closed/x: cannot be looked up \(Permission denied\)"):
        find_inputs(["/closed/x"], CsvConfig())


@pytest.mark.parametrize("words", [("init",), ("init", "--example", "quickstart")])
def test_a_command_without_standard_input_needs_none_or_says_what_is_missing(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    command = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "sweeper", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if len(words) > 1 else 2)


def test_the_home_folder_is_understood_in_an_answer() -> None:
    assert _written_to(" ~/spaces/photos.yaml ") == Path.home() / "spaces" / "photos.yaml"
