"""Which trials of a large study a page shows, and what it says of all the others.

A page stays usable with some hundred trials: of thousands it shows the best, and counts all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.config.sweep import SweepConfig
from sweeper.results import TrialRow, TrialState
from sweeper.standings.pareto import in_order
from sweeper.standings.saving import saved_seconds

MOST_RANKED, MOST_OTHERS = 500, 50
"""Trials of a larger study that are shown: the best, and of those without a rank the latest."""


@dataclass(frozen=True)
class Selection:
    """The trials that are shown, by number, out of how many; the first `ranked` of the ranking are among them."""

    rows: list[TrialRow]
    ranked: int
    known: int

    def note(self) -> str:
        """Say what is shown of a larger study; nothing where all trials are."""
        if len(self.rows) == self.known:
            return ""
        others = len(self.rows) - self.ranked
        unranked = f" and the {others} latest without a rank (failed, unfinished or outside the search space)"
        latest = unranked if others else ""
        return (
            f"Of {self.known:,} trials this page shows {len(self.rows):,}: the {self.ranked:,} best{latest}. Tables, "
            "filter and charts are of these; the counts, the times, the line of the best value so far and the "
            "importance of parameters are of all. trials.csv, an artifact of the study's run in MLflow, lists all."
        )


def select(rows: Sequence[TrialRow], sweep: SweepConfig) -> Selection:
    """Choose the trials of a study that a page has room for: all, where there are no more than 500."""
    order = in_order(rows, sweep)
    if len(rows) <= MOST_RANKED:
        return Selection(list(rows), len(order), len(rows))
    ranks = {row.number for row in order}
    others = [row for row in rows if row.number not in ranks]
    best = order[:MOST_RANKED]
    return Selection(sorted([*best, *others[-MOST_OTHERS:]], key=lambda row: row.number), len(best), len(rows))


def places(rows: Sequence[TrialRow]) -> dict[int, int]:
    """Return the place of each ended trial, from 1, in the order in which they ended."""
    ended = sorted((row.ended_ms, row.number) for row in rows if row.ended_ms is not None)
    return {number: place for place, (_, number) in enumerate(ended, 1)}


def totals_payload(rows: Sequence[TrialRow], sweep: SweepConfig) -> dict[str, Any]:
    """Return what the page says of all trials: counts, seconds, and where the best value rose."""
    ended = [row for row in rows if row.ended_ms is not None and row.seconds is not None]
    return {
        "trials": len(rows),
        "ended": sum(row.ended_ms is not None for row in rows),
        "states": {state.value: sum(row.state is state for row in rows) for state in TrialState if state.ended},
        "seconds": sum(row.seconds or 0 for row in ended),
        "lost": sum(row.seconds or 0 for row in rows if row.state is TrialState.FAILED),
        "saved": saved_seconds(rows, sweep.reports),
        "steps": _steps(rows, sweep),
    }


def _steps(rows: Sequence[TrialRow], sweep: SweepConfig) -> list[tuple[int, float]]:
    """Return the places at which a trial was better than all before it, and its value."""
    of_number = {row.number: row for row in rows}
    steps: list[tuple[int, float]] = []
    best: float | None = None
    for number, place in places(rows).items():
        row = of_number[number]
        if row.state is not TrialState.COMPLETE or row.value is None or row.outside is not None:
            continue
        if sweep.objective.better(row.value, best):
            best = row.value
            steps.append((place, best))
    return steps
