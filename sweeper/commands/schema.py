"""`sweeper schema`: the search space as a JSON Schema or as a page."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.commands.terminal import write, write_json


def schema(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="A page with every key and its default instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of a search space, for editors."""
    from sweeper.config.reference import markdown as reference
    from sweeper.config.sweep import json_schema

    if markdown:
        write(f"{reference()}\n")
    else:
        write_json(json_schema())
