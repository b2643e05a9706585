"""The scores of a model on a split as tables."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from sweeper.display.tables import score
from sweeper.evaluation import COLUMNS, SplitReport, class_rows
from sweeper.reconstruction_report import QualityReport


def scores_table(report: SplitReport) -> Table:
    """Return accuracy, macro scores, top-5 and loss in one line."""
    values = report.evaluation.values
    names = ("accuracy", "precision", "recall", "f1", "top5_accuracy", "loss")
    table = Table(box=SIMPLE_HEAD)
    for name in names:
        table.add_column(f"{report.split}/{name}", justify="right", no_wrap=True)
    table.add_row(*(score(values[name]) for name in names))
    return table


def quality_table(report: QualityReport) -> Table:
    """Return loss, PSNR and SSIM of reconstructions in one line."""
    values = report.validation.values
    table = Table(box=SIMPLE_HEAD)
    for name in values:
        table.add_column(f"{report.split}/{name}", justify="right", no_wrap=True)
    table.add_row(*(score(value) for value in values.values()))
    return table


def classes_table(report: SplitReport) -> Table:
    """Return precision, recall, F1 and images of every class, the lowest F1 first."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("class", overflow="fold")
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    rows = zip(report.titles, class_rows(report), strict=True)
    for title, (_, precision, recall, f1, images) in sorted(rows, key=lambda pair: (pair[1][3], pair[0])):
        table.add_row(escape(title), score(precision), score(recall), score(f1), f"{images:,}")
    return table
