"""A study as a notebook shows it: while it runs, one output that is drawn anew after each epoch; later, a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, Template

from sweeper.config.sweep import SweepConfig
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialState
from sweeper.safeguards.printable import one_line

SHOWN = 10
"""Trials that the view shows: those that run, and the latest that have paused or ended."""

RUNNING = "running"

BETWEEN_S = 0.3
"""Seconds between two drawings, at least: a notebook keeps every message that it gets."""

VIEW = """\
<div>
<p><b>{{ study }}</b>: {{ ended }}{% if budget %} of {{ budget }}{% endif %} trials
{%- if best is not none %}, best {{ metric }} {{ "%.4f" % best }} (trial {{ leader }}){% endif %}
{%- if preparing %}; {{ preparing }}{% endif %}</p>
{% if budget %}<progress max="{{ budget }}" value="{{ ended }}" style="width:24em"></progress>{% endif %}
<table>
<thead><tr><th>trial</th><th>state</th><th>{{ reported }}</th><th>{{ metric }}</th><th>seconds</th></tr></thead>
<tbody>
{%- for line in lines %}
<tr><td>{{ line.number }}</td><td>{{ line.state }}</td><td>{{ line.epoch }} of {{ line.of }}</td>
<td>{% if line.value is not none %}{{ "%.4f" % line.value }}{% endif %}</td><td>{{ "%.0f" % line.seconds }}</td></tr>
{%- endfor %}
</tbody>
</table>
</div>"""


@cache
def template(text: str) -> Template:
    """Return a template that escapes whatever is put into it."""
    return Environment(autoescape=True, trim_blocks=True).from_string(text)


def in_notebook() -> bool:
    """Return whether this program is the kernel of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


@dataclass
class Line:
    """A trial of the view."""

    number: int
    of: int
    state: str = RUNNING
    epoch: int = 0
    value: float | None = None
    seconds: float = 0.0


class NotebookView:
    """Shows a running study in the output of a cell."""

    def __init__(self) -> None:
        self._sweep: SweepConfig | None = None
        self._lines: dict[int, Line] = {}
        self._ended: set[int] = set()
        self._best: tuple[int, float] | None = None
        self._budget: int | None = None
        self._preparing, self._drawn_s = "", 0.0
        self._output: Any = None

    def preparing(self, what: str, done: int, total: int) -> None:
        self._preparing = f"{what}: {done:,} of {total:,}" if done < total else ""
        self._draw()

    def opened(self, sweep: SweepConfig, rows: Sequence[TrialRow], budget: int) -> None:
        self._sweep = sweep
        self.planned(budget)
        for row in rows:
            if row.state.ended:
                self._ended.add(row.number)
                self._count(row.number, row.state, row.value if row.outside is None else None)
        self._draw(now=True)

    def planned(self, budget: int) -> None:
        """Take the number of trials in all; a time alone says nothing of it."""
        open_ended = self._sweep is not None and self._sweep.budget.open_ended
        self._budget = None if open_ended else budget

    def started(self, number: int, epochs: int) -> None:
        folds = self._sweep.dataset.folds if self._sweep is not None else None
        self._lines[number] = Line(number, folds or epochs)
        self._draw()

    def epoch(self, number: int, metrics: EpochMetrics) -> None:
        line = self._lines.get(number)
        if line is None or self._sweep is None:
            return
        line.epoch, line.value = metrics.epoch, metrics.values.get(self._sweep.objective.metric)
        timed = (f"time/{self._sweep.reported}_s", "time/features_s")
        line.seconds += sum(metrics.values.get(name, 0.0) for name in timed)
        self._draw()

    def ended(self, number: int, outcome: TrialOutcome) -> None:
        line = self._lines.setdefault(number, Line(number, outcome.epochs))
        line.state, line.value, line.epoch = outcome.state.value, outcome.best_value, outcome.epochs
        line.seconds = outcome.seconds
        if outcome.state.ended:
            self._ended.add(number)
            self._count(number, outcome.state, outcome.best_value)
        self._draw(now=True)

    def _count(self, number: int, state: TrialState, value: float | None) -> None:
        """Note the best value of the trials that are complete."""
        if self._sweep is None or value is None or state is not TrialState.COMPLETE:
            return
        if self._sweep.objective.better(value, self._best[1] if self._best else None):
            self._best = (number, value)

    def html(self) -> str:
        """Return what is shown now."""
        running = [line for line in self._lines.values() if line.state == RUNNING]
        others = [line for line in self._lines.values() if line.state != RUNNING]
        lines = [*others[-SHOWN:], *running][-max(SHOWN, len(running)) :]
        leader, best = self._best or (None, None)
        return template(VIEW).render(
            study=one_line(self._sweep.study) if self._sweep else "",
            reported=self._sweep.reported if self._sweep else "epoch",
            metric=self._sweep.objective.metric if self._sweep else "",
            ended=len(self._ended),
            budget=self._budget,
            best=best,
            leader=leader,
            preparing=self._preparing,
            lines=lines,
        )

    def _draw(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._drawn_s < BETWEEN_S:
            return
        from IPython.display import HTML, display

        self._drawn_s = time.monotonic()
        if self._output is None:
            self._output = display(HTML(self.html()), display_id=True)
        else:
            self._output.update(HTML(self.html()))
