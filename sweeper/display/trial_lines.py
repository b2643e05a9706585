"""The trials of a study that runs, one line each, in 80 columns too: for `sweeper run`, and for `sweeper watch`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from rich.table import Table

from sweeper.config.sweep import SweepConfig
from sweeper.display.cells import add_column, add_row, bar, cell, clipped, new_table
from sweeper.display.forecast import Forecast
from sweeper.display.tables import COLORS, duration, score
from sweeper.results import TrialState
from sweeper.safeguards.quantity import portion

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 12
"""Characters of a curve."""


@dataclass
class TrialLine:
    """One trial as it is shown.

    Attributes:
        about: What its settings are, or why it ended.
        epochs: How many it has had, out of `of_epochs`; folds where it is cross-validated.
        value: The best of the objective so far.
        curve: The objective by epoch.
        seconds: How long it has been trained.
        leads: It is the best trial of the study.
    """

    number: int
    state: TrialState
    about: str
    epochs: int
    of_epochs: int
    value: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    seconds: float | None = None
    leads: bool = False


def headline(
    forecast: Forecast,
    sweep: SweepConfig,
    noun: str = "trial",
    *,
    running: bool = True,
    deadline_s: float | None = None,
) -> Table:
    """Return the study, how many trials have ended, the best value and the time left: `deadline_s` of a deadline."""
    open_ended = sweep.budget.open_ended
    ended = portion(forecast.ended, None if open_ended else forecast.budget, noun, between="/")
    facts = [ended, f"best {score(forecast.best)}"]
    done, total = float(forecast.ended), float(max(1, forecast.budget))
    if running and deadline_s is not None:
        facts.append(f"{duration(max(0.0, deadline_s))} to the deadline")
        if open_ended and sweep.budget.time:
            done, total = max(0.0, sweep.budget.time - deadline_s), sweep.budget.time
    elif running and not open_ended and forecast.seconds_left is not None:
        facts.append(f"{duration(forecast.seconds_left)} left")
    return bar(sweep.study, done, total, *facts)


def trial_table(lines: Sequence[TrialLine], reported: str, noun: str = "trial") -> Table:
    """Return a line for each trial; where there is little room only the settings are cut.

    Args:
        reported: What a trial reports: epoch or fold.
        noun: What a trial is called.
    """
    low, high = _spread(lines)
    table = new_table()
    for heading in (noun, reported, "best"):
        add_column(table, heading, right=True)
    for heading in ("curve", "state"):
        add_column(table, heading)
    add_column(table, "time", right=True)
    add_column(table, "settings", fold=True)  # so that it is the one that gives way
    for line in lines:
        number = cell(f"{'*' if line.leads else ''}{line.number}", "bold" if line.leads else "")
        at, state = f"{line.epochs}/{line.of_epochs}", cell(line.state.value, COLORS[line.state])
        curve = sparkline(line.curve, low, high)
        add_row(table, number, at, score(line.value), curve, state, duration(line.seconds), clipped(line.about))
    return table


def _spread(lines: Iterable[TrialLine]) -> tuple[float, float]:
    """Return the lowest and the highest value of all curves."""
    values = [value for line in lines for value in line.curve.values() if isfinite(value)]
    return min(values, default=0.0), max(values, default=1.0)


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
