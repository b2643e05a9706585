"""Trials in the order of their worth."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.results import TrialRow, TrialState

LEADERS = 5
"""Of how many best trials a soup or an ensemble is made, unless it is told otherwise."""


def ranked(rows: Iterable[TrialRow], direction: str) -> list[TrialRow]:
    """Return the trials that finished, best first, then the pruned ones, best first.

    A pruned trial has been judged after fewer epochs, so it never stands above a finished one.
    Equal values keep the order in which they were tried. Failed trials have no rank, nor have those that an
    edited search space no longer holds.
    """
    sign = -1 if direction == "maximize" else 1
    ended = [row for row in rows if row.state in (TrialState.COMPLETE, TrialState.PRUNED) and row.outside is None]
    scored = [row for row in ended if row.value is not None]
    return sorted(scored, key=lambda row: (row.state is TrialState.PRUNED, sign * (row.value or 0.0), row.number))


def finished_behind(rows: Iterable[TrialRow], direction: str, leader: TrialRow) -> list[TrialRow]:
    """Return the other trials that finished, best first."""
    return [row for row in ranked(rows, direction) if row.state is TrialState.COMPLETE and row.number != leader.number]
