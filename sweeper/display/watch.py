"""A running study as another terminal shows it: what runs, what leads, how the curves go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType

from sweeper.config.sweep import SweepConfig
from sweeper.display.cells import message
from sweeper.display.forecast import Forecast
from sweeper.display.settings import in_brief, told_apart_by
from sweeper.display.trial_lines import TrialLine, headline, trial_table
from sweeper.display.work import Work, work_line
from sweeper.results import TrialRow, TrialState
from sweeper.standings.pareto import in_order

View = RenderableType
"""What a terminal shows."""

FINISHED, AT_REST = "finished: all trials have ended, or the time is used up", "not running: `sweeper run` goes on"
LEADERS = 5


def shown(rows: Sequence[TrialRow], sweep: SweepConfig, most: int) -> list[TrialRow]:
    """Return at most `most` trials that get a line, by number: those that run, the best ones, then the latest."""
    running = [row for row in rows if row.state is TrialState.RUNNING]
    latest = [row for row in reversed(rows) if row.state.ended or row.state is TrialState.PAUSED]
    wanted = {row.number: row for row in [*running, *in_order(rows, sweep)[:LEADERS], *latest]}
    return sorted(list(wanted.values())[:most], key=lambda row: row.number)


def watch_view(
    rows: Sequence[TrialRow],
    chosen: Sequence[TrialRow],
    curves: Mapping[int, Mapping[int, float]],
    sweep: SweepConfig,
    budget: int,
    *,
    running: bool,
    finished: bool,
    work: Work,
    deadline_s: float | None = None,
    instead: str = "",
) -> View:
    """Return the study at this moment.

    Args:
        rows: All trials.
        chosen: Those with a line.
        finished: Whether the search has come to its end.
        work: What is measured.
        instead: What is done in place of running trials.
    """
    forecast = Forecast(rows, budget, sweep)
    at_work = [row.number for row in rows if row.state is TrialState.RUNNING]
    for number in at_work:
        forecast.trial_started(number)
    state = instead or (f"{len(at_work)} at work" if running else FINISHED if finished else AT_REST)
    lines = _lines(rows, chosen, curves, sweep)
    return Group(
        headline(forecast, sweep, running=running, deadline_s=deadline_s),
        message(work_line(sweep.objective, state, work), "dim"),
        trial_table(lines, sweep.reported),
    )


def _lines(
    rows: Sequence[TrialRow],
    chosen: Sequence[TrialRow],
    curves: Mapping[int, Mapping[int, float]],
    sweep: SweepConfig,
) -> list[TrialLine]:
    complete = [row for row in rows if row.state is TrialState.COMPLETE]
    names, best = told_apart_by(rows), in_order(complete, sweep)[:1]
    return [
        TrialLine(
            row.number,
            row.state,
            in_brief(row.config, names),
            row.epochs,
            sweep.reports,
            row.value,
            curves.get(row.number, {}),
            row.seconds,
            leads=bool(best) and row.number == best[0].number,
        )
        for row in chosen
    ]
