"""What the documents say is true: files exist, commands parse, examples are valid."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sweeper.cli import app
from sweeper.commands import data
from sweeper.commands.running import check_names
from sweeper.config.loading import load_sweep
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


def test_the_stored_picture_of_the_layers_is_drawn_from_the_contract() -> None:
    drawn = runpy.run_path(str(REPOSITORY / "docs" / "draw_layers.py"))
    assert (REPOSITORY / "docs" / "layers.svg").read_text() == drawn["picture"](), "run `make schema`"


@pytest.mark.parametrize("script", ["write_commands", "write_library"])
def test_a_stored_reference_is_the_one_that_is_written_from_the_code(script: str) -> None:
    written = runpy.run_path(str(REPOSITORY / "docs" / f"{script}.py"))
    assert written["PAGE"].read_text() == written["page"](), "run `make schema`"
