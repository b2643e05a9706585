"""What a check of a data set found, as a table."""

from __future__ import annotations

from rich.table import Table

from sweeper.curation.check import CheckReport, lines
from sweeper.data.listing import enumerated
from sweeper.display.cells import add_column, add_row, new_table


def check_table(report: CheckReport) -> Table:
    """Return a line for everything that was looked at."""
    table = new_table()
    add_column(table, "what")
    add_column(table, "found", right=True)
    add_column(table, "", fold=True)
    for line in lines(report):
        wrong = line.serious and line.count
        style = "red" if wrong else "" if line.count else "dim"
        add_row(table, line.subject, f"{line.count:,}", line.detail, style=style)
    return table


def examples(report: CheckReport, limit: int = 5) -> list[str]:
    """Return paragraphs that name the first findings of each serious kind."""
    paths = report.images.paths
    bad = [f"{paths[row]}: {reason}" for row, reason in sorted(report.facts.bad.items())]
    copies = [
        f"{group.kind}: " + " = ".join(paths[row] for row in group.rows[:4]) + (" …" if len(group.rows) > 4 else "")
        for group in report.groups
        if group.across_splits or group.across_classes
    ]
    found = (("unreadable", bad), ("copies across splits or classes", copies))
    return [f"{title}:\n{enumerated(items, limit)}" for title, items in found if items]
