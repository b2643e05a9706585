"""The name of an experiment names a folder too: one that leads elsewhere is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.commands.options import with_engine, with_tracking_name
from sweeper.config.document import shown_assignment
from sweeper.config.engine import RayConfig
from sweeper.library.space import load_space


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


@pytest.mark.parametrize("name", ["2024", "null", "true", "mine"])
def test_a_name_is_text_whatever_yaml_would_make_of_it(name: str) -> None:
    overrides = with_tracking_name(["study=s"], name)
    content = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "test_resnet"}}
    assert load_space(content, overrides).tracking.name == name


def test_the_name_of_a_shared_folder_is_taken_whole() -> None:
    overrides = with_engine(None, "ray", None, "/mnt/pool #2")
    content = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "test_resnet"}}
    engine = load_space(content, overrides).engine
    assert isinstance(engine, RayConfig)
    assert engine.shared == "/mnt/pool #2"


@pytest.mark.parametrize("option", ["", "--set="])
def test_the_address_of_a_webhook_is_not_repeated(option: str) -> None:
    assert shown_assignment(f"{option}notify.webhook=https://host/hidden") == f"{option}notify.webhook=…"
    assert shown_assignment(f"{option}study=s") == f"{option}study=s"
