"""Where commands print: results to standard output, everything else to standard error.

What is printed is text as it is: names, reasons and messages of others are never markup (`display/cells.py`).
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sweeper.commands.streams import LastingStream
from sweeper.display.cells import message
from sweeper.display.pace import BETWEEN_S, Pace

Answer = TypeVar("Answer")

PIPED_WIDTH = 160  # columns of a table that is not shown in a terminal


def _console(*, stderr: bool) -> Console:
    """Return what writes to a stream, a terminal only if it is one: with FORCE_COLOR a live view would fill a file."""
    stream = sys.stderr if stderr else sys.stdout
    shown = stream is not None and stream.isatty()
    return Console(
        stderr=stderr,
        force_terminal=None if shown else False,
        width=None if shown or stderr else PIPED_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )


out = _console(stderr=False)
err = _console(stderr=True)


def say(text: str) -> None:
    """Print a line as it is."""
    out.print(message(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a line beside the results."""
    err.print(message(text, "yellow"), soft_wrap=True)


def refuse(text: str) -> None:
    """Print what is wrong."""
    err.print(message(text, "red"), soft_wrap=True)


def show(table: RenderableType) -> None:
    """Print a table, or several parts of a view."""
    out.print(table)


@contextmanager
def redrawn() -> Iterator[Callable[[RenderableType], None]]:
    """Give what shows a view in place of the one before, while the block runs; for a terminal."""
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda view: live.update(view, refresh=True)


def write(text: str) -> None:
    """Write text for other programs, names of files that are no UTF-8 too; a terminal shows it as any other."""
    if out.is_terminal:
        out.print(message(text), end="", soft_wrap=True)
    else:
        content = text.encode(errors="surrogateescape")
        if isinstance(sys.stdout, LastingStream):
            sys.stdout.write_bytes(content)
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(content)


def write_json(content: Any) -> None:
    """Write JSON in ASCII alone, so that no terminal is steered by it."""
    sys.stdout.write(json.dumps(content, indent=2).replace("\x7f", "\\u007f") + "\n")


@contextmanager
def beside_json(wanted: bool) -> Iterator[None]:
    """Print results as everything else while the block runs, where standard output is for JSON alone."""
    if not wanted:
        yield
        return
    out.file = sys.stderr
    try:
        yield
    finally:
        out.file = None  # type: ignore[assignment]  # standard output again, whatever that is by then


def can_ask() -> bool:
    """Return whether somebody is there to answer."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(question: str, read: Callable[[str], Answer], default: str | None = None) -> Answer:
    """Ask in a terminal until `read` raises no ValueError, and return what it makes of the answer."""
    while True:
        try:
            return read(typer.prompt(question, default=default, type=str))
        except ValueError as error:
            warn(str(error))


def agrees(question: str) -> bool:
    """Ask a question that is answered with yes or no; without an answer it is no."""
    return typer.confirm(question)


@contextmanager
def waiting(what: str, *, at_once: bool = False) -> Iterator[None]:
    """Show what is being done while the block runs; in a pipe a line now and then, where it is wanted one `at_once`."""
    if err.is_terminal:
        with err.status(message(what)):
            yield
        return
    if at_once:
        err.print(message(what), soft_wrap=True)
    ended, started = threading.Event(), time.monotonic()

    def tell() -> None:
        from sweeper.display.tables import duration

        while not ended.wait(BETWEEN_S):
            err.print(message(f"{what}: {duration(time.monotonic() - started)} so far"), soft_wrap=True)

    telling = threading.Thread(target=tell, name="waiting", daemon=True)
    telling.start()
    try:
        yield
    finally:
        ended.set()
        telling.join()


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs, in a pipe a line now and then.

    Gives a function that takes how many are done and how many there are.
    """
    if not err.is_terminal:
        yield Pace(what, lambda line: err.print(message(line), soft_wrap=True))
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
