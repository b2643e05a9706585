"""`sweeper data …`: commands that look after a data set before it is trained on. None of them deletes anything."""

from __future__ import annotations

import typer

from sweeper.commands.data.check import check
from sweeper.commands.data.clean import clean
from sweeper.commands.data.label_errors import label_errors
from sweeper.commands.data.split import split

app = typer.Typer(
    help="Split, check and clean a data set; nothing is ever deleted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


app.command()(split)
app.command()(check)
app.command()(clean)
app.command("label-errors")(label_errors)
