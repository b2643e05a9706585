"""`sweeper data …`: commands that look after a data set before it is trained on. None of them deletes anything."""

from __future__ import annotations

from collections.abc import Callable

import typer

from sweeper.commands.data.check import check
from sweeper.commands.data.clean import clean
from sweeper.commands.data.label_errors import label_errors
from sweeper.commands.data.split import split
from sweeper.commands.help import Command, Group
from sweeper.commands.talkative import talkative

app = typer.Typer(
    help="Split, check and clean a data set; nothing is ever deleted.",
    no_args_is_help=True,
    cls=Group,
    rich_markup_mode="markdown",
)


COMMANDS: dict[str, Callable[..., None]] = {
    "split": split,
    "check": check,
    "clean": clean,
    "label-errors": label_errors,
}

for name, command in COMMANDS.items():
    app.command(name, cls=Command)(talkative(command))
