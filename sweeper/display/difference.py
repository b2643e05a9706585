"""The difference of two models as tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rich.table import Table

from sweeper.display.cells import add_column, add_row, new_table
from sweeper.display.settings import short
from sweeper.display.tables import score
from sweeper.report.difference import Difference, PairedPredictions
from sweeper.safeguards.quantity import quantity

MOST_ROWS = 10
SIGNIFICANT = 0.05


def difference_tables(found: Difference) -> Iterator[Table]:
    """Yield parameters, scores and curves, and of the images that both have seen what changed."""
    if found.params:
        yield _table("parameters that differ", ("parameter", "A", "B"), _params(found), right=0)
    yield _table("scores of the best epoch", ("score", "A", "B", "change"), _scores(found))
    for metric in [name for name in found.a.curves if name in found.b.curves][-1:]:  # the objective comes last
        yield _table(f"{metric} by epoch", ("epoch", "A", "B", "change"), _curves(found, metric))
    if found.paired is not None:
        yield _table("classes that changed most", ("class", "recall A", "recall B", "change"), _classes(found))
        yield _table("confusions that changed most", ("true", "predicted", "A", "B", "change"), _cells(found))


def verdict(paired: PairedPredictions) -> str:
    """Say in a sentence which side is better, and whether by more than chance."""
    gained, lost = len(paired.newly_right), len(paired.newly_wrong)
    sure = "more than chance would explain" if paired.p_value < SIGNIFICANT else "a difference this small may be chance"
    relabelled = quantity(paired.relabelled, "image has", "images have")
    left_out = f"; {relabelled} another class in B and are left out" if paired.relabelled else ""
    return (
        f"of {len(paired.a):,} images {gained:,} are newly right in B, {lost:,} newly wrong, "
        f"{paired.both_right:,} right and {paired.both_wrong:,} wrong in both: "
        f"{sure} (McNemar's exact test, p = {paired.p_value:.3g}){left_out}"
    )


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]], right: int = 3) -> Table:
    """Return a table whose last columns are numbers."""
    table = new_table(title)
    for place, head in enumerate(heads):
        numeric = place >= len(heads) - right
        add_column(table, head, right=numeric, fold=not numeric)
    for row in rows:
        add_row(table, *row)
    return table


def _params(found: Difference) -> list[tuple[str, ...]]:
    return [(name, *("-" if value is None else short(value) for value in both)) for name, both in found.params.items()]


def _scores(found: Difference) -> list[tuple[str, ...]]:
    a, b = found.a.scores, found.b.scores
    return [(name, *_numbers(a.get(name), b.get(name))) for name in dict.fromkeys([*a, *b])]


def _curves(found: Difference, metric: str) -> list[tuple[str, ...]]:
    a, b = found.a.curves[metric], found.b.curves[metric]
    epochs = sorted({*a, *b})
    step = -(-len(epochs) // MOST_ROWS) or 1
    kept = epochs[::-1][::step][::-1]  # the last one always
    return [(str(epoch), *_numbers(a.get(epoch), b.get(epoch))) for epoch in kept]


def _numbers(a: float | None, b: float | None) -> tuple[str, str, str]:
    return score(a), score(b), "-" if a is None or b is None else f"{b - a:+.4f}"


def _classes(found: Difference) -> list[tuple[str, ...]]:
    changed = [item for item in found.classes if item.recall[0] != item.recall[1]]
    changed.sort(key=lambda item: -abs(item.recall[1] - item.recall[0]))
    return [(item.name, *_numbers(*item.recall)) for item in changed[:MOST_ROWS]]


def _cells(found: Difference) -> list[tuple[str, ...]]:
    if found.paired is None:
        return []
    names = found.a.classes
    before, change = found.paired.a.confusion(len(names)), found.paired.confusion_change(len(names))
    np.fill_diagonal(change, 0)
    order = np.argsort(-abs(change), axis=None, kind="stable")[:MOST_ROWS]
    cells = [divmod(int(cell), len(names)) for cell in order if change.flat[cell]]
    return [
        (names[t], names[p], str(before[t, p]), str(before[t, p] + change[t, p]), f"{change[t, p]:+d}")
        for t, p in cells
    ]
