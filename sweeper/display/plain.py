"""A sweep as plain lines, one for each thing that happens: for pipes and log files."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from sweeper.config.sweep import SweepConfig
from sweeper.display import cells
from sweeper.display.forecast import Forecast
from sweeper.display.opening import opening_lines
from sweeper.display.pace import Pace
from sweeper.display.tables import duration, planned, retrying, score, sending, silent_for
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.safeguards.printable import one_line
from sweeper.safeguards.quantity import portion
from sweeper.study.opening import Opening

BETWEEN_DELIVERY_NEWS_S = 5.0


class PlainLines:
    """Prints a line for each event."""

    def __init__(self, console: Console, noun: str = "trial"):
        self._console = console
        self._noun = noun
        self._paces: dict[str, Pace] = {}
        self._trouble: str | None = None
        self._told_of_delivery: float | None = None
        self._left_s: Callable[[], float] | None = None
        self._devices: set[str] = set()
        self._paused: set[int] = set()
        self._told: dict[int, EpochMetrics] = {}
        self._steps: dict[int, int] = {}

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _say(self, line: str) -> None:
        self._console.print(cells.message(line), soft_wrap=True)

    def preparing(self, what: str, done: int, total: int) -> None:
        self._paces.setdefault(what, Pace(what, self._say))(done, total)

    def opening(self, opening: Opening) -> None:
        self._left_s = opening.left_s
        for line in opening_lines(opening):
            self._say(line)

    def worker_ready(self, device: str) -> None:
        name = device.partition(" (")[0]  # what follows, free memory too, is another for each worker
        if name not in self._devices:
            self._devices.add(name)
            self._say(f"a worker is ready on {device}")

    def study_opened(self, sweep: SweepConfig, rows: list[TrialRow], budget: int) -> None:
        self._sweep = sweep
        self._forecast = Forecast(rows, budget, sweep)
        self._paused |= {row.number for row in rows if row.state is TrialState.PAUSED}
        self._say(f"study {sweep.study}: {self._done} done")

    def retrying(self, numbers: list[int]) -> None:
        self._say(retrying(numbers))

    def trial_started(self, spec: TrialSpec) -> None:
        self._forecast.trial_started(spec.number)
        self._steps[spec.number] = self._sweep.dataset.folds or spec.epochs
        about = f"{spec.label}, {spec.config.backbone}" if spec.repeats else spec.config.backbone
        started = "goes on" if spec.number in self._paused else "started"
        self._paused.discard(spec.number)
        self._say(f"{self._noun} {spec.number} {started}: {about}")

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None:
        told = self._told.get(number)
        if told and metrics.epoch <= told.epoch and metrics.timestamp_ms <= told.timestamp_ms:
            return  # a worker that goes on with a trial reports its epochs again
        self._told[number] = metrics
        name = self._sweep.objective.metric
        step = self._sweep.reported
        value, seconds = metrics.values[name], metrics.values[f"time/{step}_s"]
        where = f"{self._noun} {number} {step} {metrics.epoch}/{self._steps[number]}"
        so_far = "mean so far of " if self._sweep.dataset.folds else ""
        self._say(
            f"{where}: {so_far}{name} {score(value)}, train/loss {metrics.values['train/loss']:.4f}, {seconds:.1f}s"
        )

    def trial_paused(self, number: int, outcome: TrialOutcome) -> None:
        self._forecast.trial_paused(number, outcome)
        self._paused.add(number)
        reached = f"{self._sweep.objective.metric} {score(outcome.best_value)}"
        self._say(f"{self._noun} {number} paused after epoch {outcome.epochs}: {reached}")

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None:
        self._told.pop(number, None)
        self._forecast.trial_ended(number, outcome)
        result = one_line(outcome.reason or "") or f"{self._sweep.objective.metric} {score(outcome.best_value)}"
        left = f", {self._left}" if self._left else ""
        done = f"{self._done} done, best {score(self._forecast.best)}"
        self._say(f"{self._noun} {number} {outcome.state}: {result} ({duration(outcome.seconds)}); {done}{left}")

    @property
    def _left(self) -> str:
        """How much time is left, where that is known."""
        if self._left_s is not None:
            return f"{duration(max(0.0, self._left_s()))} to the deadline"
        return "" if self._sweep.budget.open_ended else f"{duration(self._forecast.seconds_left)} left"

    @property
    def _done(self) -> str:
        """How many trials have ended, and of how many, where that is known."""
        planned = None if self._sweep.budget.open_ended else self._forecast.budget
        return portion(self._forecast.ended, planned, self._noun)

    def worker_died(self, number: int | None, reason: str) -> None:
        who = f"{self._noun} {number}" if number is not None else "idle worker"
        self._say(f"{who}: {one_line(reason)}")

    def trial_silent(self, number: int, seconds: float) -> None:
        self._say(f"{self._noun} {number}: {silent_for(seconds)}")

    def slot_retired(self, reason: str, left: int) -> None:
        self._say(f"warning: one worker less: {one_line(reason)}; the sweep continues with {left}")

    def epochs_planned(self, epochs: int, before: int) -> None:
        self._forecast.epochs_planned()
        self._say(planned(epochs, before))

    def steered(self, what: str, budget: int) -> None:
        self._forecast.budget = budget
        self._say(what)

    def stopping(self, reason: str) -> None:
        self._say(f"no more trials are started: {reason}")

    def tracking_trouble(self, message: str | None) -> None:
        if message != self._trouble:
            trouble = f"{one_line(message)}; what is recorded waits on disk" if message else None
            self._say(trouble or "MLflow can be reached again")
            self._trouble = message

    def delivering(self, left: int) -> None:
        now = time.monotonic()
        self._told_of_delivery = self._told_of_delivery or now
        if left and now - self._told_of_delivery >= BETWEEN_DELIVERY_NEWS_S:
            self._told_of_delivery = now
            self._say(sending(left))
