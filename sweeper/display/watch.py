"""A running study as another terminal shows it: what runs, what leads, how the curves go, also at 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite

from rich.console import Group, RenderableType
from rich.table import Table

from sweeper.config.sweep import SweepConfig
from sweeper.display.cells import add_column, add_row, bar, cell, clipped, message, new_table
from sweeper.display.forecast import Forecast
from sweeper.display.tables import duration, score, settings_of, short, state_cell, told_apart_by
from sweeper.results import TrialRow, TrialState
from sweeper.standings.pareto import in_order

View = RenderableType
"""What a terminal shows."""

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 12
"""Characters of a curve."""

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
) -> View:
    """Return the study at this moment: `rows` are all trials, `chosen` those that get a line."""
    forecast = Forecast(list(rows), budget, sweep.objective)
    at_work = sum(row.state is TrialState.RUNNING for row in rows)
    for row in rows:
        if row.state is TrialState.RUNNING:
            forecast.trial_started(row.number)
    return Group(*_headlines(forecast, sweep, at_work, running=running), _table(rows, chosen, curves, sweep))


def _headlines(forecast: Forecast, sweep: SweepConfig, at_work: int, *, running: bool) -> list[View]:
    open_ended = sweep.budget.open_ended
    trials = f"{forecast.ended}{'' if open_ended else f'/{forecast.budget}'} trials"
    facts = [trials, f"best {score(forecast.best)}"]
    if running and not open_ended and forecast.seconds_left is not None:
        facts.append(f"{duration(forecast.seconds_left)} left")
    head = bar(sweep.study, forecast.ended, max(1, forecast.budget), *facts)
    state = f"{at_work} at work" if running else "not running: `sweeper run` goes on"
    return [head, message(f"{sweep.objective.metric}, {sweep.objective.direction}d; {state}", "dim")]


def _table(
    rows: Sequence[TrialRow],
    chosen: Sequence[TrialRow],
    curves: Mapping[int, Mapping[int, float]],
    sweep: SweepConfig,
) -> Table:
    names = told_apart_by(rows)
    spread = [value for row in chosen for value in curves.get(row.number, {}).values() if isfinite(value)]
    best = in_order(rows, sweep)[:1]
    table = new_table()
    for heading in ("trial", sweep.reported, "best"):
        add_column(table, heading, right=True)
    for heading in ("curve", "state"):
        add_column(table, heading)
    add_column(table, "time", right=True)
    add_column(table, "settings", fold=True)  # so that it is the one that gives way
    for row in chosen:
        leads = bool(best) and row.number == best[0].number
        number = cell(f"{'*' if leads else ''}{row.number}", "bold" if leads else "")
        epoch = f"{row.epochs}/{sweep.reports}"
        curve = sparkline(curves.get(row.number, {}), min(spread, default=0.0), max(spread, default=1.0))
        about = (duration(row.seconds), clipped(_settings(row, names)))
        add_row(table, number, epoch, score(row.value), curve, state_cell(row), *about)
    return table


def sparkline(curve: Mapping[int, float], low: float, high: float) -> str:
    """Draw a curve in a few characters, on a scale that several share; the last of some epochs stands for them."""
    epochs = [epoch for epoch in sorted(curve) if isfinite(curve[epoch])]
    if not epochs:
        return ""
    width = min(CURVE, len(epochs))
    picked = [curve[epochs[(place + 1) * len(epochs) // width - 1]] for place in range(width)]
    span = high / 2 - low / 2  # halves, since the whole of the largest numbers would be infinite
    heights = [(value / 2 - low / 2) / span if span > 0 else 0.5 for value in picked]
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int(height * len(BLOCKS)))] for height in heights)


def _settings(row: TrialRow, names: Sequence[str]) -> str:
    """Say what sets a trial apart, by short names where those are clear."""
    last = Counter(name.rpartition(".")[2] for name in names)
    settings = settings_of(row)
    brief = {name: end if last[end := name.rpartition(".")[2]] == 1 else name for name in names}
    return " ".join(f"{brief[name]}={short(settings[name])}" for name in names if name in settings)
