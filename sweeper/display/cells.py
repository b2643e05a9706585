"""Text and tables for the terminal: the one way by which anything from outside gets there.

Names, reasons and settings may hold anything. Here they become text as it is: no markup, nothing that steers the
terminal, no credentials, one line a cell.
"""

from __future__ import annotations

from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeper.credentials import hide_credentials
from sweeper.safeguards.printable import one_line, printable

Cell = str | Text


def cell(text: str, style: str = "") -> Text:
    """Return text as one line, as it is."""
    return Text(one_line(hide_credentials(text)), style=style)


def clipped(text: str) -> Text:
    """Return text as one line that ends in an ellipsis where its column, one that folds, has no room for more."""
    line = cell(text)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def message(text: str, style: str = "") -> Text:
    """Return a message of ours, which may have several lines, as it is."""
    return Text(printable(hide_credentials(text)), style=style)


def new_table(title: str | None = None, *, header: bool = True) -> Table:
    """Return a table without columns."""
    shown = None if title is None else cell(title, "table.title")
    return Table(box=SIMPLE_HEAD, title=shown, title_justify="left", show_header=header)


def add_column(
    table: Table,
    heading: str,
    *,
    right: bool = False,
    fold: bool = False,
    least: int | None = None,
    width: int | None = None,
) -> None:
    """Add a column, whose cells go on in further lines where it folds, and else end in an ellipsis.

    `least`: of how many characters it has room in any terminal; `width`: for exactly how many.
    """
    justify: Literal["left", "right"] = "right" if right else "left"
    overflow: Literal["fold", "ellipsis"] = "fold" if fold else "ellipsis"
    table.add_column(cell(heading), justify=justify, no_wrap=not fold, overflow=overflow, min_width=least, width=width)


def add_row(table: Table, *cells: Cell, style: str | None = None) -> None:
    """Add a row; a cell is plain text, or one of `cell` with a style of its own."""
    table.add_row(*(one if isinstance(one, Text) else cell(one) for one in cells), style=style)


def bar(title: str, done: float, total: float, *facts: str) -> Table:
    """Return one line: a title, a progress bar and what there is to say beside it; with a total of 0 it only moves."""
    line = Table.grid(padding=(0, 2))
    line.add_row(cell(title, "bold"), ProgressBar(total=total or None, completed=done, width=30), *map(cell, facts))
    return line
