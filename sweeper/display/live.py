"""A sweep as a table that is redrawn while it runs: for a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console, Group, RenderableType
from rich.live import Live

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.display import cells
from sweeper.display.cells import bar
from sweeper.display.forecast import Forecast
from sweeper.display.opening import WARNING, opening_lines
from sweeper.display.pace import Pace
from sweeper.display.settings import Differences, in_brief
from sweeper.display.tables import planned, retrying, sending, silent_for
from sweeper.display.trial_lines import TrialLine, headline, trial_table
from sweeper.display.work import Work, rate_of, work_line
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.safeguards.printable import one_line
from sweeper.standings.pareto import in_order
from sweeper.standings.saving import saved_by, saved_seconds
from sweeper.study.opening import Opening

SHOWN_ENDED = 8


class LiveTable:
    """Shows running trials, the latest ended ones, the best value and the time left."""

    def __init__(self, console: Console, noun: str = "trial"):
        self._noun = noun
        self._lines: dict[int, TrialLine] = {}
        self._configs: dict[int, TrialConfig] = {}
        self._started: dict[int, float] = {}
        self._before_s: dict[int, float] = {}
        self._left_s: Callable[[], float] | None = None
        self._rates: dict[int, float] = {}
        self._saved_s = 0.0
        self._names: list[str] = []
        self._leader: int | None = None
        self._differences = Differences()
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
        self._left_s = opening.left_s
        for line in opening_lines(opening):
            warned = line.startswith(WARNING)
            self._live.console.print(cells.message(line, "yellow" if warned else "dim"))

    def worker_ready(self, device: str) -> None:
        self._devices.setdefault(device.partition(" (")[0], device)  # what follows is another for each worker

    def study_opened(self, sweep: SweepConfig, rows: list[TrialRow], budget: int) -> None:
        self._sweep = sweep
        self._forecast = Forecast(rows, budget, sweep)
        finished = [row for row in rows if row.state is TrialState.COMPLETE]
        self._leader = next((row.number for row in in_order(finished, sweep)), None)
        self._saved_s = saved_seconds(rows, sweep.reports)
        self._before_s = {row.number: row.seconds or 0.0 for row in rows if row.state is TrialState.PAUSED}
        for row in [row for row in rows if row.state.ended][-SHOWN_ENDED:]:
            reason = (row.reason or "") if row.state is TrialState.FAILED else ""
            line = TrialLine(row.number, row.state, reason, row.epochs, sweep.reports, row.value)
            line.seconds = row.seconds
            self._add(line, row.config)

    def retrying(self, numbers: list[int]) -> None:
        self._live.console.print(cells.message(retrying(numbers)), soft_wrap=True)

    def trial_started(self, spec: TrialSpec) -> None:
        if self._forecast is not None:
            self._forecast.trial_started(spec.number)
        folds = self._sweep.dataset.folds if self._sweep is not None else None
        self._started[spec.number] = time.monotonic() - self._before_s.pop(spec.number, 0.0)
        line = TrialLine(spec.number, TrialState.RUNNING, spec.label if spec.repeats else "", 0, folds or spec.epochs)
        self._rates[spec.number] = 0.0
        self._add(line, spec.config)

    def _add(self, line: TrialLine, config: TrialConfig | None) -> None:
        self._lines[line.number] = line
        if config is not None:
            self._configs[line.number] = config
            self._differences.add(config.model_dump(mode="json"))
            self._names = self._differences.names  # a list of its own: the view is drawn by another thread

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None:
        if self._sweep is None:
            return
        line = self._lines[number]
        value = metrics.values[self._sweep.objective.metric]
        if self._sweep.dataset.folds or self._sweep.objective.better(value, line.value):  # a mean is what it is
            line.value = value
        self._rates[number] = rate_of(metrics)
        line.epochs, line.curve = metrics.epoch, {**line.curve, metrics.epoch: value}
        self._notes.pop(f"silent {number}", None)

    def trial_paused(self, number: int, outcome: TrialOutcome) -> None:
        self._before_s[number] = outcome.seconds
        if self._forecast is not None:
            self._forecast.trial_paused(number, outcome)
        self._notes.pop(f"silent {number}", None)
        self._forget(number)

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None:
        before = self._forecast.best if self._forecast is not None else None
        if self._forecast is not None:
            self._forecast.trial_ended(number, outcome)
            self._leader = self._leader if self._forecast.best == before else number
        line = self._lines.setdefault(number, TrialLine(number, outcome.state, "", outcome.epochs, outcome.epochs))
        self._notes.pop(f"silent {number}", None)
        self._rates.pop(number, None)
        self._saved_s += saved_by(outcome, self._sweep.reports) if self._sweep is not None else 0.0
        line.state, line.value, line.seconds = outcome.state, outcome.best_value, outcome.seconds
        line.about = (outcome.reason or "") if outcome.state is TrialState.FAILED else line.about
        for earlier in self._ended()[:-SHOWN_ENDED]:
            self._forget(earlier.number)

    def _forget(self, number: int) -> None:
        for known in (self._lines, self._configs, self._started, self._rates):
            known.pop(number, None)

    def _ended(self) -> list[TrialLine]:
        return [line for line in self._lines.values() if line.state.ended]

    def worker_died(self, number: int | None, reason: str) -> None:
        who = f"{self._noun} {number}" if number is not None else "idle worker"
        if number is not None:
            self._rates.pop(number, None)
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
            deadline_s = self._left_s() if self._left_s is not None else None
            parts.append(headline(self._forecast, self._sweep, self._noun, deadline_s=deadline_s))
            work = Work(sum(dict(self._rates).values()), saved_s=self._saved_s)
            parts.append(cells.message(work_line(self._sweep.objective, f"{len(self._rates)} at work", work), "dim"))
            parts.append(trial_table(self._shown(), self._sweep.reported, self._noun))
        parts += [cells.message(f"on {', '.join(self._devices.values())}", "dim")] * bool(self._devices)
        parts += [cells.message(note, "yellow") for note in list(self._notes.values())]
        return Group(*parts)

    def _shown(self) -> list[TrialLine]:
        """Return the trials as they are at this moment: those that have ended, then those that run."""
        now, known = time.monotonic(), list(self._lines.values())
        lines = []
        for line in sorted(known, key=lambda line: line.state is TrialState.RUNNING):
            settings = in_brief(self._configs.get(line.number), self._names)
            about = ": ".join(filter(None, (line.about, settings)))
            seconds = line.seconds if line.state.ended else now - self._started.get(line.number, now)
            lines.append(replace(line, about=about, seconds=seconds, leads=line.number == self._leader))
        return lines
