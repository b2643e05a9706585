"""The trials of a study in their order, as commands show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeper.commands.terminal import out, say, show
from sweeper.display.cells import message

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.results import TrialRow


def show_ranked(rows: Sequence[TrialRow], sweep: SweepConfig, limit: int, *, with_best: bool = False) -> None:
    """Show the trials best first: in a terminal one line each, and `with_best` all settings of the best below."""
    from sweeper.display.settings import in_full, told_apart_by
    from sweeper.display.tables import ranked_table
    from sweeper.standings.pareto import in_order

    show(ranked_table(rows, sweep, limit, brief=out.is_terminal))
    whole = in_order(rows, sweep)
    order = whole[:limit]
    if len(order) < len(whole):
        say(f"the best {len(order)} of {len(whole)} trials with a score; all: sweeper status {sweep.study} --all")
    settings = in_full(order[0].config, told_apart_by(order)) if order else ""
    if with_best and out.is_terminal and settings:
        show(message(f"trial {order[0].number}, the best: {settings}"))  # broken between words, not by the terminal
