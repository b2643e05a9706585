"""The name of an experiment names a folder too: one that leads elsewhere is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app


@pytest.mark.parametrize("name", ["../../evil", "a/b", "it's", "models:/x", "", "x" * 600])
@pytest.mark.parametrize("command", [("sync", "s"), ("register", "s"), ("run", "space.yaml")])
def test_a_name_that_is_no_plain_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*command, "--tracking-name", name])
    assert done.exit_code == 2
    assert "should be 1 to 100 letters" in " ".join(done.output.replace("│", " ").split())
    assert not list(tmp_path.iterdir())
