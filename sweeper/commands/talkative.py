"""`-v` and `--debug` after a command as before it: sweeper run space.yaml -v."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sweeper.credentials import log_more

PANEL = "To see more"

VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say on standard error what is being done.", rich_help_panel=PANEL)
]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Say more: the messages of libraries, too, and where an error comes from.",
        rich_help_panel=PANEL,
    ),
]


def talk(*, verbose: bool, debug: bool) -> None:
    """Say more on standard error, where that is wanted."""
    if verbose or debug:
        log_more(debug=debug)


def talkative(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes these two options too."""

    @functools.wraps(command)
    def with_options(*given: Any, verbose: bool, debug: bool, **options: Any) -> None:
        talk(verbose=verbose, debug=debug)
        command(*given, **options)

    signature = inspect.signature(command, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter("verbose", kind, default=False, annotation=VerboseOption),
        inspect.Parameter("debug", kind, default=False, annotation=DebugOption),
    ]
    signature = signature.replace(parameters=[*signature.parameters.values(), *more])
    with_options.__signature__ = signature  # type: ignore[attr-defined]  # which is what Typer reads
    with_options.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    return with_options
