"""`Study`: what has been searched, for a program to look at; it only reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.config.sweep import COSTS, SweepConfig
from sweeper.errors import ConfigError, Problem
from sweeper.library.notebook import template
from sweeper.library.trial import Trial, best_epoch
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.safeguards.printable import one_line
from sweeper.safeguards.quantity import portion
from sweeper.search.stored_studies import open_study as open_store
from sweeper.search.stored_sweep import as_written
from sweeper.search.study_store import StudyStore
from sweeper.standings.no_winner import has_finished, without_winner
from sweeper.standings.pareto import in_order
from sweeper.standings.trial_names import trial_of
from sweeper.standings.winner import study_winner, winner_of

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

COLUMNS = ("number", "state", "value", "epoch", "duration")
MOST_ROWS = 30  # of the table in a notebook

PAGE = """\
<div>
<p><b>{{ study }}</b>: {{ trials }} ended; {{ metric }}, {{ direction }}d</p>
<p>{{ headline }}</p>
<table>
<thead><tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{%- for row in rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody>
</table>
{%- if more %}<p>and {{ more }} more: study.trials</p>{% endif %}
</div>"""


def open_study(name: str | None = None, *, storage: str | None = None, tracking_uri: str | None = None) -> Study:
    """Open a study of the current folder, without a name the latest; it may be running.

    Args:
        name: What the search space calls it under `study`.
        storage: Optuna's storage, by default $OPTUNA_STORAGE or `optuna.db` in the current folder.
        tracking_uri: MLflow's address, by default that of its last run.

    Raises:
        StudyNotFound: there is none of this name.
    """
    workspace = Workspace(Path.cwd())
    return Study(workspace, open_store(workspace, storage, name), tracking_uri)


def _reopened(workspace: Workspace, storage: str, name: str, tracking_uri: str | None) -> Study:
    """Return a study that was pickled, as it is now."""
    return Study(workspace, StudyStore.load(storage, name), tracking_uri)


class Study:
    """A study and its trials. `sweeper.run` and `sweeper.open_study` return one; it is read anew at each question."""

    def __init__(self, workspace: Workspace, store: StudyStore, tracking_uri: str | None = None):
        self.workspace = workspace
        self.store = store
        self.tracking_uri = tracking_uri

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.workspace, self.store.url, self.name, self.tracking_uri)

    @property
    def name(self) -> str:
        """What the study is called."""
        return self.store.sweep.study

    @property
    def space(self) -> SweepConfig:
        """Its search space as it was written, to run it again: a deadline may have left each trial fewer epochs."""
        return as_written(self.store)

    @property
    def trials(self) -> pd.DataFrame:
        """All trials, a row each, by number.

        Columns: number; state; value, the objective in the best epoch; epoch, the best one, counted from 1, empty where
        trials are cross-validated; duration, seconds of training; then one for each parameter that was searched, empty
        where a trial has no such parameter.
        """
        import pandas as pd

        rows = self.store.rows()
        names = dict.fromkeys(name for row in rows for name in row.params)
        table = {name: [row.params.get(name) for row in rows] for name in names}
        own = {
            "number": pd.Series([row.number for row in rows], dtype="int64"),
            "state": pd.Series([row.state.value for row in rows], dtype="str"),
            "value": pd.Series([row.value for row in rows], dtype="float64"),
            "epoch": pd.Series([best_epoch(row) for row in rows], dtype="Int64"),
            "duration": pd.Series([row.seconds for row in rows], dtype="float64"),
        }
        return pd.DataFrame({**own, **table})

    @property
    def best(self) -> Trial:
        """The trial that `sweeper confirm` chose, else the one with the best objective. Raises NoWinner."""
        return self._trial(winner_of(self.store))

    def trial(self, number: int) -> Trial:
        """Return a trial by its number. Raises StudyNotFound, and ConfigError for what is no number."""
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise ConfigError([Problem("number", "", f"should be a whole number, got {number!r}")])
        return self._trial(trial_of(self.store, number))

    def _trial(self, row: TrialRow) -> Trial:
        return Trial(self.workspace, self.store, row, self.tracking_uri)

    def report(self, to: str | Path | None = None) -> Path:
        """Write the study's page, by default to reports/STUDY.html, and return its path.

        Raises TrackingError, and ConfigError where another file is in the way.
        """
        from sweeper.report.page import study_page
        from sweeper.safeguards.outputs import PAGE, Output

        path = Path(to) if to is not None else self.workspace.report(self.name)
        output = Output(path, PAGE, "to", force=None)
        output.require_free()
        output.write(study_page(self.workspace, self.store, self.tracking_uri))
        return path

    def plot_history(self) -> go.Figure:
        """Return a plotly figure: the value of each trial in the order in which they ended, and the best so far."""
        from sweeper.library.figures import history

        return history(self.store.rows(), self.store.sweep)

    def plot_curves(self) -> go.Figure:
        """Return a plotly figure: the objective of each trial after each epoch."""
        from sweeper.library.figures import curves

        rows = self.store.rows()
        return curves(rows, self.store.curves([row.number for row in rows]), self.store.sweep)

    def plot_slices(self) -> go.Figure:
        """Return a plotly figure: the value against each searched parameter."""
        from sweeper.library.figures import slices

        return slices(self.store.rows(), self.store.sweep)

    def plot_parallel(self) -> go.Figure:
        """Return a plotly figure: a line for each trial through its parameters to its value."""
        from sweeper.library.figures import parallel

        return parallel(self.store.rows(), self.store.sweep)

    def plot_importances(self) -> go.Figure:
        """Return a plotly figure: how much each parameter distinguishes the best trials; empty below 8 trials."""
        from sweeper.library.figures import importances

        return importances(self.store.importances())

    def plot_pareto(self, cost: str = "train_seconds") -> go.Figure:
        """Return a plotly figure: the value against a cost, and the trials that no other one beats in both.

        Args:
            cost: `train_seconds`, `parameters` or, where it was an objective, `latency_ms`.

        Raises:
            ConfigError: trials have other costs, and not this one.
        """
        from sweeper.library.figures import pareto

        rows = self.store.rows()
        outcomes = [row.outcome for row in rows if row.outcome is not None]
        known = [name for name in COSTS if any(one.value_of(name) is not None for one in outcomes)]
        if cost not in (known or COSTS):
            there = ", ".join(known or COSTS)
            raise ConfigError([Problem("plot_pareto", "cost", f"no trial has the cost {cost!r}; they have {there}")])
        return pareto(rows, self.store.sweep, cost)

    def plot_times(self) -> go.Figure:
        """Return a plotly figure: the training seconds of each trial."""
        from sweeper.library.figures import times

        return times(self.store.rows())

    def __repr__(self) -> str:
        counts = self.store.counts()
        return f"<Study {self.name}: {portion(counts.ended, counts.known, 'trial')} ended>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the headline and the trials, best first."""
        rows, winner = self.store.rows(), study_winner(self.store)
        if winner is not None:
            headline = f"best: trial {winner.number}, {winner.value:.4f} {winner.reached_in}"
        elif rows and not has_finished(rows) and any(row.state.ended for row in rows):
            headline = without_winner(self.name, rows)
        else:
            headline = "no trial has finished yet"
        ranked = in_order(rows, self.store.sweep)
        numbers = {row.number for row in ranked}
        ordered = [*ranked, *(row for row in rows if row.number not in numbers)]
        names = list(dict.fromkeys(name for row in rows for name in row.params))
        planned = None if self.store.sweep.budget.open_ended else self.store.budget
        return template(PAGE).render(
            study=self.name,
            trials=portion(sum(row.state.ended for row in rows), planned, "trial"),
            metric=self.store.sweep.objective.metric,
            direction=self.store.sweep.objective.direction,
            headline=headline,
            columns=[*COLUMNS, *map(one_line, names)],
            rows=[_cells(row, names) for row in ordered[:MOST_ROWS]],
            more=max(0, len(rows) - MOST_ROWS),
        )


def _cells(row: TrialRow, names: Sequence[str]) -> list[str]:
    own = [row.number, row.state.value, row.value, best_epoch(row), row.seconds and round(row.seconds, 1)]
    return [_shown(value) for value in (*own, *(row.params.get(name) for name in names))]


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value))
