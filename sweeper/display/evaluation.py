"""The scores of a model on a split as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from rich.table import Table

from sweeper.display.cells import add_column, add_row, new_table
from sweeper.display.tables import score
from sweeper.finished.evaluate_autoencoder import QualityReport
from sweeper.finished.evaluate_classifier import SplitReport, class_rows
from sweeper.finished.evaluation_files import CLASS_COLUMNS
from sweeper.safeguards.quantity import quantity


def tables_of(report: SplitReport | QualityReport) -> list[Table]:
    """Return what a model is worth on a split, as fits its task."""
    match report:
        case SplitReport():
            return [classes_table(report), scores_table(report)]
        case QualityReport():
            return [quality_table(report)]
        case _:
            assert_never(report)


def interval_lines(report: SplitReport | QualityReport, chosen_in: str | None = None) -> list[str]:
    """Say how far scores may lie from those on more images of the kind; nothing where that is not known.

    `chosen_in`: the study whose trials, and their epochs, were chosen by their scores on these images.
    """
    if not isinstance(report, SplitReport):
        return []
    found = [f"{name} {' to '.join(map(score, ends))}" for name, ends in report.intervals.items()]
    lines = [f"95% interval by the {quantity(report.images, 'image')}: {', '.join(found)}"]
    if chosen_in is not None:
        expected = f"what to expect of the best trial on new images: sweeper best {chosen_in}"
        lines.append(f"these images chose trials and their epochs, which flatters them; {expected}")
    return lines


def scores_table(report: SplitReport) -> Table:
    """Return accuracy, macro scores, top-5 and loss, one a row."""
    names = ("accuracy", "precision", "recall", "f1", "top5_accuracy", "loss")
    return _values_table(report.split, {name: report.values[name] for name in names})


def quality_table(report: QualityReport) -> Table:
    """Return loss, PSNR and SSIM of reconstructions, one a row."""
    return _values_table(report.split, report.values)


def _values_table(split: str, values: Mapping[str, float]) -> Table:
    table = new_table()
    add_column(table, "metric")
    add_column(table, "value", right=True)
    for name, value in values.items():
        add_row(table, f"{split}/{name}", score(value))
    return table


def classes_table(report: SplitReport) -> Table:
    """Return precision, recall, F1 and images of every class, the lowest F1 first."""
    table = new_table()
    add_column(table, "class", fold=True)
    for heading in CLASS_COLUMNS:
        add_column(table, heading, right=True)
    rows = zip(report.titles, class_rows(report), strict=True)
    for title, (_, precision, recall, f1, images) in sorted(rows, key=lambda pair: (pair[1][3], pair[0])):
        add_row(table, title, score(precision), score(recall), score(f1), f"{images:,}")
    return table
