"""What the documents say is true: files exist, commands parse, examples are valid."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.commands import data
from sweeper.commands.running import check_names
from sweeper.config.document import Document, read_document
from sweeper.config.loading import load_sweep, validated
from sweeper.config.reference import markdown
from sweeper.config.sweep import json_schema
from tests.functional.program import REPOSITORY

SPACES = sorted((REPOSITORY / "search_spaces").glob("*.yaml"))
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
COMMANDS = [
    (*group, command.name or command.callback.__name__)
    for group, commands in (((), app.registered_commands), (("data",), data.app.registered_commands))
    for command in commands
    if command.callback
]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def test_there_are_the_search_spaces_that_users_are_reported() -> None:
    assert {path.stem for path in SPACES} >= {"quickstart", "tinyimagenet", "cifar10"}


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_search_space_is_valid_and_all_its_names_exist(path: Path) -> None:
    sweep = load_sweep(path, check_names=check_names)
    assert sweep.study == path.stem


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_search_space_names_the_schema_and_its_own_command(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=../docs/search_space.schema.json\n")
    assert f"sweeper run search_spaces/{path.name}" in text


def test_the_stored_schema_is_the_one_the_program_prints() -> None:
    stored = json.loads((REPOSITORY / "docs" / "search_space.schema.json").read_text())
    assert stored == json.loads(json.dumps(json_schema())), "run `make schema`"


def test_the_stored_reference_is_the_one_the_program_prints() -> None:
    assert (REPOSITORY / "docs" / "search_space.md").read_text() == markdown() + "\n", "run `make schema`"


def commands_in(page: Path) -> list[str]:
    """Return every `sweeper ...` command in the code of a page, continued lines joined, comments dropped."""
    text = page.read_text().replace("\\\n", " ")
    found = re.findall(r"^(?:    |#     )(sweeper [a-z].*?)(?: {2,}#.*)?$", text, re.MULTILINE)
    return [command.strip() for command in found]


def parse(command: str) -> None:
    """Parse a command's arguments without running it. Raises where click refuses them."""
    subcommand = typer.main.get_command(app)
    name, *arguments = shlex.split(command)
    while hasattr(subcommand, "commands"):
        name, *arguments = arguments
        subcommand = subcommand.commands[name]
    subcommand.make_context(name, arguments)


@pytest.mark.parametrize("page", [*PAGES, *SPACES], ids=lambda page: page.name)
def test_every_command_in_the_documents_is_one_the_program_takes(page: Path) -> None:
    for command in commands_in(page):
        parse(command)


def test_the_readme_shows_commands() -> None:
    assert len(commands_in(REPOSITORY / "README.md")) >= 5


def test_overrides_in_the_headers_of_search_spaces_are_valid() -> None:
    for path in SPACES:
        for command in commands_in(path):
            overrides = re.findall(r"--set (\S+)", command)
            load_sweep(path, [override for override in overrides if "..." not in override])


def yaml_in(page: Path) -> list[dict[str, Any]]:
    """Return every YAML block of a page; one that shows a key twice, as two ways to write it, is two of them."""
    found: list[dict[str, Any]] = []
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        shown: dict[str, str] = {}
        for key, text in re.findall(r"^(\w+)(:.*\n(?:[ #].*\n|\n)*)", block, re.MULTILINE):
            if key in shown:
                found.append(parsed(shown, page))
                shown = {}
            shown[key] = text
        found.append(parsed(shown, page))
    return found


def parsed(shown: dict[str, str], page: Path) -> dict[str, Any]:
    document = read_document("".join(map("".join, shown.items())), page.name)
    assert not document.problems
    return dict(document.data)


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "models" / "README.md"], ids=lambda page: page.name)
def test_every_part_of_a_search_space_in_the_documents_is_valid(page: Path) -> None:
    """With the rest from the README's example where it shows a part."""
    (whole,) = yaml_in(REPOSITORY / "README.md")
    for part in yaml_in(page):
        content = {**whole, **part, "search": {"backbone": "resnet18", **part.get("search", whole["search"])}}
        assert validated(Document(page.name, content), [], None).study == content["study"]


@pytest.mark.parametrize("command", sorted(COMMANDS), ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"])
    assert shown.exit_code == 0
    assert len(shown.output) > 200


NAMED = re.compile(r"(?:\b[ab]/)?([\w/]*\btest_\w+\.py)(?:::(test_\w+…?))?|\b(test_(?:[a-z0-9]+_){3,}\w*…?)")
"""A file of tests, perhaps with a test in it, or a test alone: its name is a claim, of four words at least."""
SHOWN = re.compile(r"^\+?def (test_\w+)|`(tests/\S+\.py)`, new", re.MULTILINE)
"""A test, or a file of tests, that a page holds as an example."""


def test_every_test_that_a_page_names_exists() -> None:
    tests = {f"/{path}": path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py")}
    pages = {page.name: page.read_text() for page in PAGES}
    shown = {name for text in pages.values() for found in SHOWN.findall(text) for name in found}
    for page, text in pages.items():
        for file, in_file, alone in NAMED.findall(text):
            test = in_file or alone
            if shown & {file, test} - {""}:
                continue
            start = "" if not test else f"def {test[:-1]}" if test.endswith("…") else f"def {test}("
            named = [source for path, source in tests.items() if path.endswith(f"/{file}" if file else "")]
            assert any(start in source for source in named), f"{page}: {file} {test}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.slow
def test_the_pictures_of_the_pages_are_drawn_by_their_script(tmp_path: Path) -> None:
    pytest.importorskip("pyte", reason="make pictures installs it")
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        pytest.skip("no Chromium: make chromium")
    subprocess.run([sys.executable, "docs/draw_pictures.py", tmp_path], check=True)
    assert "complete" in (tmp_path / "terminal.svg").read_text()
    assert (tmp_path / "report.png").stat().st_size < 200_000


def test_every_picture_stands_in_a_page() -> None:
    shown = {name for page in PAGES for name in re.findall(r"!\[[^\]]*\]\((?:docs/)?(\S+)\)", page.read_text())}
    assert shown == {file.name for kind in ("*.svg", "*.png") for file in (REPOSITORY / "docs").glob(kind)}


def test_the_stored_picture_of_the_layers_is_drawn_from_the_contract() -> None:
    drawn = runpy.run_path(str(REPOSITORY / "docs" / "draw_layers.py"))
    assert (REPOSITORY / "docs" / "layers.svg").read_text() == drawn["picture"](), "run `make schema`"


@pytest.mark.parametrize("script", ["write_commands", "write_library"])
def test_a_stored_reference_is_the_one_that_is_written_from_the_code(script: str) -> None:
    written = runpy.run_path(str(REPOSITORY / "docs" / f"{script}.py"))
    assert written["PAGE"].read_text() == written["page"](), "run `make schema`"
