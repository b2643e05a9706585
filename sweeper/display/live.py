"""A sweep as a table that is redrawn while it runs: for a terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.display import cells
from sweeper.display.cells import add_column, add_row, bar, cell, new_table
from sweeper.display.forecast import Forecast
from sweeper.display.opening import WARNING, opening_lines
from sweeper.display.pace import Pace
from sweeper.display.tables import COLORS, duration, planned, retrying, score, sending, short, silent_for
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.safeguards.printable import one_line
from sweeper.study.opening import Opening

SHOWN_ENDED = 8


@dataclass
class Line:
    """One trial of the table."""

    number: int
    state: TrialState
    about: str
    epochs: int = 0
    of_epochs: int = 0
    value: float | None = None
    loss: float | None = None
    seconds: float | None = None
    started: float = 0.0
    reason: str = ""


class LiveTable:
    """Shows running trials, the latest ended ones, the best value and the time left."""

    def __init__(self, console: Console, noun: str = "trial"):
        self._noun = noun
        self._lines: dict[int, Line] = {}
        self._sweep: SweepConfig | None = None
        self._forecast: Forecast | None = None
        self._notes: dict[str, str] = {}
        self._paces: dict[str, Pace] = {}
        self._preparing: dict[str, tuple[int, int]] = {}
        self._devices: dict[str, str] = {}
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render, transient=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def preparing(self, what: str, done: int, total: int) -> None:
        self._preparing[what] = (done, total)
        self._paces.setdefault(what, Pace("", lambda _: None))(done, total)
        if total and done >= total:
            del self._preparing[what]

    def opening(self, opening: Opening) -> None:
        for line in opening_lines(opening):
            warned = line.startswith(WARNING)
            self._live.console.print(cells.message(line, "yellow" if warned else "dim"), soft_wrap=True)

    def worker_ready(self, device: str) -> None:
        self._devices.setdefault(device.partition(" (")[0], device)  # what follows is another for each worker

    def study_opened(self, sweep: SweepConfig, rows: list[TrialRow], budget: int) -> None:
        self._sweep = sweep
        self._forecast = Forecast(rows, budget, sweep.objective)
        for row in [row for row in rows if row.state.ended][-SHOWN_ENDED:]:
            line = Line(row.number, row.state, _about(row.config) if row.config else "", reason=row.reason or "")
            line.epochs, line.value, line.seconds = row.epochs, row.value, row.seconds
            line.of_epochs = sweep.reports
            self._lines[row.number] = line

    def retrying(self, numbers: list[int]) -> None:
        self._live.console.print(cells.message(retrying(numbers)), soft_wrap=True)

    def trial_started(self, spec: TrialSpec) -> None:
        if self._forecast is not None:
            self._forecast.trial_started(spec.number)
        about = f"{spec.label}: {_about(spec.config)}" if spec.repeats else _about(spec.config)
        folds = self._sweep.dataset.folds if self._sweep is not None else None
        self._lines[spec.number] = Line(
            spec.number, TrialState.RUNNING, about, of_epochs=folds or spec.epochs, started=time.monotonic()
        )

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None:
        if self._sweep is None:
            return
        line = self._lines[number]
        value = metrics.values[self._sweep.objective.metric]
        if self._sweep.dataset.folds or self._sweep.objective.better(value, line.value):  # a mean is what it is
            line.value = value
        line.epochs, line.loss = metrics.epoch, metrics.values["train/loss"]
        self._notes.pop(f"silent {number}", None)

    def trial_paused(self, number: int, outcome: TrialOutcome) -> None:  # noqa: ARG002
        if self._forecast is not None:
            self._forecast.trial_paused(number)
        self._notes.pop(f"silent {number}", None)
        self._lines.pop(number, None)

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None:
        if self._forecast is not None:
            self._forecast.trial_ended(number, outcome)
        line = self._lines[number]
        self._notes.pop(f"silent {number}", None)
        line.state, line.value, line.seconds = outcome.state, outcome.best_value, outcome.seconds
        line.reason = outcome.reason or ""
        for earlier in self._ended()[:-SHOWN_ENDED]:
            del self._lines[earlier.number]

    def _ended(self) -> list[Line]:
        return [line for line in self._lines.values() if line.state.ended]

    def worker_died(self, number: int | None, reason: str) -> None:
        who = f"{self._noun} {number}" if number is not None else "idle worker"
        self._notes["worker"] = f"{who}: {one_line(reason)}"

    def trial_silent(self, number: int, seconds: float) -> None:
        self._notes[f"silent {number}"] = f"{self._noun} {number}: {silent_for(seconds)}"

    def slot_retired(self, reason: str, left: int) -> None:
        self._notes[f"retired {left}"] = f"one worker less: {one_line(reason)}; the sweep continues with {left}"

    def epochs_planned(self, epochs: int, before: int) -> None:
        if self._forecast is not None:
            self._forecast.epochs_planned()
        self._live.console.print(cells.message(planned(epochs, before)), soft_wrap=True)

    def steered(self, what: str, budget: int) -> None:
        if self._forecast is not None:
            self._forecast.budget = budget
        self._live.console.print(cells.message(what, "yellow"), soft_wrap=True)

    def stopping(self, reason: str) -> None:
        self._notes["stopping"] = f"no more trials are started: {reason}"

    def tracking_trouble(self, message: str | None) -> None:
        if message is None:
            self._notes.pop("tracking", None)
        else:
            self._notes["tracking"] = f"{one_line(message)}; what is recorded waits on disk"

    def delivering(self, left: int) -> None:
        if left:
            self._notes["delivering"] = f"{sending(left)}; Ctrl-C leaves them to `sweeper sync`"

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        parts += [bar(what, *at, self._paces[what].told(*at)) for what, at in dict(self._preparing).items()]
        if self._sweep is not None and self._forecast is not None:
            parts += [self._headline(self._sweep, self._forecast), self._table(self._sweep)]
        parts += [cells.message(f"on {', '.join(self._devices.values())}", "dim")] * bool(self._devices)
        parts += [cells.message(note, "yellow") for note in list(self._notes.values())]
        return Group(*parts)

    def _headline(self, sweep: SweepConfig, forecast: Forecast) -> Table:
        seconds_left = None if sweep.budget.open_ended else forecast.seconds_left
        left = f"{duration(seconds_left)} left" if seconds_left is not None else ""
        of_all = "" if sweep.budget.open_ended else f"/{forecast.budget}"
        trials = f"{forecast.ended}{of_all} {self._noun}s"
        best = f"best {sweep.objective.metric} {score(forecast.best)}"
        return bar(sweep.study, forecast.ended, forecast.budget, trials, best, left)

    def _table(self, sweep: SweepConfig) -> Table:
        table = new_table()
        for heading in (self._noun, "state", sweep.reported, f"best {sweep.objective.metric}", "train/loss", "time"):
            add_column(table, heading, right=heading != "state")
        add_column(table, "configuration")
        running = [line for line in self._lines.values() if line.state is TrialState.RUNNING]
        for line in [*self._ended(), *running]:
            seconds = line.seconds if line.state.ended else time.monotonic() - line.started
            state = cell(line.state.value, COLORS[line.state])
            about = (str(line.number), state, f"{line.epochs}/{line.of_epochs}", score(line.value))
            add_row(table, *about, score(line.loss), duration(seconds), line.reason or line.about)
        return table


def _about(config: TrialConfig) -> str:
    """Say in one line what distinguishes most trials."""
    optimizer = config.optimizer
    return f"{config.backbone}, {optimizer.name} lr {short(optimizer.lr)}, batch {config.batch_size}"
