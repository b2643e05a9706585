"""The `sweeper` command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from sweeper import __version__
from sweeper.commands import data
from sweeper.commands.best import best
from sweeper.commands.confirm import confirm
from sweeper.commands.delete import delete
from sweeper.commands.diff import diff
from sweeper.commands.doctor import doctor
from sweeper.commands.evaluate import evaluate
from sweeper.commands.extend import extend
from sweeper.commands.help import Command, Group
from sweeper.commands.init import NameMayLack, init
from sweeper.commands.leaving import ToldToLeave, heed_sigterm
from sweeper.commands.list import list_studies
from sweeper.commands.plan import plan
from sweeper.commands.predict import predict
from sweeper.commands.register import register
from sweeper.commands.report import report
from sweeper.commands.reproduce import reproduce
from sweeper.commands.run import run
from sweeper.commands.schema import schema
from sweeper.commands.status import status
from sweeper.commands.steering import enqueue, pause, resume, set_budget, skip, stop
from sweeper.commands.streams import outlast_the_reader, written_whole
from sweeper.commands.sync import sync
from sweeper.commands.talkative import DebugOption, VerboseOption, talk, talkative
from sweeper.commands.terminal import refuse, say
from sweeper.commands.train import train
from sweeper.commands.watch import watch
from sweeper.credentials import log_without_credentials
from sweeper.errors import DiskError, SweeperError

logger = logging.getLogger(__name__)

app = typer.Typer(
    help="Search hyperparameters of image classifiers: a YAML search space in, the best model out.",
    no_args_is_help=True,
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; errors of ours become a message and their exit code."""
    heed_sigterm()
    outlast_the_reader()
    log_without_credentials(logging.WARNING, "%(message)s")
    try:
        with written_whole():
            app()
    except SweeperError as error:
        logger.debug("raised here", exc_info=error)
        refuse(f"error: {error}")
        sys.exit(error.exit_code)
    except PermissionError as error:  # of a path that may not even be looked up
        logger.debug("raised here", exc_info=error)
        refuse(f"error: {error.filename or error}: permission denied; ask for access, or name another place")
        sys.exit(DiskError.exit_code)
    except ToldToLeave:
        refuse("stopped by SIGTERM; run the same command again to continue")
        raise


GROUPS: dict[str, dict[str, Callable[..., None]]] = {
    "Search": {
        "init": init,
        "plan": plan,
        "run": run,
        "list": list_studies,
        "status": status,
        "watch": watch,
        "best": best,
        "extend": extend,
        "train": train,
    },
    "Steer a running study": {
        "stop": stop,
        "pause": pause,
        "resume": resume,
        "skip": skip,
        "enqueue": enqueue,
        "set": set_budget,
    },
    "Check the result": {"confirm": confirm, "reproduce": reproduce, "report": report, "diff": diff},
    "Use a model": {"predict": predict, "evaluate": evaluate, "register": register},
    "Data, records and this machine": {"doctor": doctor, "sync": sync, "delete": delete, "schema": schema},
}
"""The commands, as `sweeper --help` shows them."""

OF_ITS_KIND = {"init": NameMayLack}

for group, commands in GROUPS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=group, cls=OF_ITS_KIND.get(name, Command))(talkative(command))
app.add_typer(data.app, name="data", rich_help_panel="Data, records and this machine")


@app.callback(invoke_without_command=True)
def before_any_command(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: VerboseOption = False,
    debug: DebugOption = False,
) -> None:
    if version:
        say(__version__)
        raise typer.Exit
    talk(verbose=verbose, debug=debug)
