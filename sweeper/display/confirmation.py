"""What a confirmation has found, as a table and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from sweeper.confirm.test_split import Look
from sweeper.display.cells import add_column, add_row, new_table
from sweeper.display.tables import score
from sweeper.safeguards.quantity import quantity
from sweeper.standings.confirmation import Confirmation, Leader

SHARES = ("accuracy", "top5_accuracy", "precision", "recall", "f1")
"""Metrics between 0 and 1."""


def confirmation_table(found: Confirmation) -> Table:
    """Return the leaders by their mean over fresh seeds, the best one first."""
    table = new_table()
    judged = f"mean {found.metric}"
    widths = {"trial": 5, judged: min(12, len(judged.split()[1])), "std. dev.": 6, "95% interval": None}
    widths |= {"seeds": 5, "in the search": 6, "p": 7}
    for heading, width in widths.items():  # the numbers are whole at 80 columns, and headings have several lines
        add_column(table, heading, right=True, fold=width is not None, width=width)
    for leader in found.leaders:
        seeds = f"{len(leader.values)}" + (f", {leader.failed} failed" if leader.failed else "")
        spread = score(leader.deviation), _interval(leader, found.metric)
        cells = [str(leader.trial), score(leader.mean), *spread, seeds]
        p = "-" if leader.p is None else f"{leader.p:.2g}"
        add_row(table, *cells, score(leader.searched), p)
    return table


def _interval(leader: Leader, metric: str) -> str:
    """Return the interval of a mean, of a share within 0 and 1: few seeds that differ much say no more."""
    if leader.interval is None:
        return "-"
    low, high = leader.interval
    if metric.rpartition("/")[2] in SHARES:
        low, high = max(0.0, low), min(1.0, high)
    return f"{score(low)} to {score(high)}"


def confirmed_lines(found: Confirmation, ended: int) -> Iterator[str]:
    """Say who has won and how surely; `ended` trials have ended by now."""
    winner = found.winner
    spread = f" ± {winner.deviation:.4f}" if winner.deviation is not None else ""
    yield (
        f"trial {winner.trial} is confirmed: {found.metric} {score(winner.mean)}{spread} over {len(winner.values)} "
        f"fresh seeds; the search had {score(winner.searched)}{_of_many(found)}"
    )
    yield found.verdict()
    if later := since_then(found, ended):
        yield later


def since_then(found: Confirmation, ended: int) -> str:
    """Say how many trials a confirmation did not know of, where there are any; `ended` have ended by now."""
    if ended <= found.known_trials:
        return ""
    since = quantity(ended - found.known_trials, "trial has", "trials have")
    return f"{since} ended since; run `sweeper confirm` again to include them"


def _of_many(found: Confirmation) -> str:
    """Say so where the search has chosen its best value among others, which is too high."""
    others = [leader for leader in found.leaders if leader.trial != found.winner.trial]
    sign = -1 if found.direction == "minimize" else 1
    best = all(sign * found.winner.searched >= sign * leader.searched for leader in others)
    return ", the best of many" if best and found.known_trials > 1 else ""


def look_lines(seen: Sequence[Look], winner: int) -> Iterator[str]:
    """Tell of the looks at the test split, oldest first."""
    for look in seen:
        forced = ", asked for with --look-again" if look.forced else ""
        figures = ", ".join(f"{name} {value:.4f}" for name, value in look.metrics.items())
        yield f"test split, trial {look.trial}, {look.images:,} images, looked at {look.when}{forced}: {figures}"
    if seen and winner not in {look.trial for look in seen}:
        yield (
            f"trial {winner} was not looked at: the test split has been used, and a winner chosen after that would get "
            "too high a score on it; --look-again measures it all the same and is recorded"
        )
