"""Write docs/commands.md: every command of sweeper with its arguments and options, as `--help` knows them.

python docs/write_commands.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from sweeper.cli import app

PAGE = Path(__file__).resolve().parent / "commands.md"
INTRODUCTION = """\
# Commands

Every command, argument and option. `sweeper COMMAND --help` says the same in the terminal, and `make schema` writes
this page from it. What a command ends with is in the table of [exit codes](../README.md#exit-codes).

`sweeper --version` prints the version. `-v`, before or after a command, says on standard error what is being done, and
`--debug` all of it, with what libraries say and where an error comes from. `--install-completion` completes
commands, options and the names of studies in your shell.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *_groups(typer.main.get_command(app))])


def _groups(program: Any) -> Iterator[str]:
    """Yield the commands under the headings that `sweeper --help` has."""
    panel = ""
    for name, command in program.commands.items():
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel
            yield f"## {panel}\n"
        if hasattr(command, "commands"):
            for part, one in command.commands.items():
                yield from _command(f"sweeper {name} {part}", one)
        else:
            yield from _command(f"sweeper {name}", command)


def _command(name: str, command: Any) -> Iterator[str]:
    """Yield a heading, how the command is called, what it does, and a line for each argument and option."""
    context = command.make_context(name, [], resilient_parsing=True)
    yield f"### {name}\n"
    yield f"`{' '.join([name, *command.collect_usage_pieces(context)])}`\n"
    yield f"{command.help}\n"
    records = (parameter.get_help_record(context) for parameter in command.params)
    lines = [f"- `{written}`: {' '.join(text.split())}" for written, text in filter(None, records)]
    if lines:
        yield "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
