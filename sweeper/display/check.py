"""What a check of a data set found, as a table."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from sweeper.curation.check import CheckReport, lines
from sweeper.data.listing import enumerated


def check_table(report: CheckReport) -> Table:
    """Return a line for everything that was looked at."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("what", no_wrap=True)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for line in lines(report):
        wrong = line.serious and line.count
        style = "red" if wrong else "" if line.count else "dim"
        table.add_row(line.subject, f"{line.count:,}", escape(line.detail), style=style)
    return table


def examples(report: CheckReport, limit: int = 5) -> list[str]:
    """Return paragraphs that name the first findings of each serious kind."""
    paths = report.source.paths
    bad = [f"{paths[row]}: {reason}" for row, reason in sorted(report.facts.bad.items())]
    copies = [
        f"{group.kind}: " + " = ".join(paths[row] for row in group.rows[:4]) + (" …" if len(group.rows) > 4 else "")
        for group in report.groups
        if group.across_splits or group.across_classes
    ]
    found = (("unreadable", bad), ("copies across splits or classes", copies))
    return [f"{title}:\n{enumerated(items, limit)}" for title, items in found if items]
