"""Plotly figures of a study for notebooks: the charts of its report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sweeper.config.sweep import GoalConfig, SweepConfig
from sweeper.report.payload import params_payload
from sweeper.report.selection import places, totals_payload
from sweeper.results import TrialRow, TrialState
from sweeper.standings.pareto import pareto_front

COLORS = {"complete": "#2a62a8", "pruned": "#96600b", "failed": "#b00020", "running": "#5c6470"}
BEST = "#1a7f45"
SYMBOLS = {"complete": "circle", "pruned": "x", "failed": "triangle-down"}
LONGEST_TICKED = 12
"""Epochs or trials up to which each has a tick."""

COLUMNS = 3  # of the slices
ROW_PX = 280
LABEL = 28
"""Letters of a category that fit below an axis."""


def history(rows: Sequence[TrialRow], sweep: SweepConfig) -> go.Figure:
    """Return the value of each trial in the order in which they ended, and the best so far."""
    order = places(rows)
    ended = sorted((row for row in rows if row.number in order), key=lambda row: order[row.number])
    figure = go.Figure(_by_state(ended, lambda row: order[row.number]))
    steps = totals_payload(rows, sweep)["steps"]
    if steps:
        steps = [*steps, (len(order), steps[-1][1])]
        x, y = zip(*steps, strict=True)
        figure.add_scatter(x=x, y=y, mode="lines", name="best so far", line={"shape": "hv", "color": BEST})
    figure.update_layout(_layout("trials ended", sweep.objective.metric, len(order)))
    return figure


def curves(rows: Sequence[TrialRow], told: Mapping[int, Mapping[int, float]], sweep: SweepConfig) -> go.Figure:
    """Return the objective of each trial after each epoch; `told` is that, by number and epoch."""
    figure = go.Figure()
    for row in rows:
        curve = told.get(row.number, {})
        if curve:
            line = {"color": COLORS.get(row.state.value, COLORS["running"]), "width": 1.5}
            line |= {"dash": "dot"} if row.state is TrialState.PRUNED else {}
            figure.add_scatter(
                x=list(curve),
                y=list(curve.values()),
                mode="lines+markers",
                name=f"trial {row.number}, {row.state.value}",
                line=line,
                marker={"size": 4},
            )
    longest = max((max(curve, default=0) for curve in told.values()), default=0)
    figure.update_layout(_layout(sweep.reported, sweep.objective.metric, longest))
    return figure


def slices(rows: Sequence[TrialRow], sweep: SweepConfig) -> go.Figure:
    """Return the value against each searched parameter; choices as categories, wide ranges on a logarithmic axis."""
    params = params_payload(rows, sweep)
    if not params:
        return go.Figure()
    lines = -(-len(params) // COLUMNS)
    figure = make_subplots(rows=lines, cols=min(COLUMNS, len(params)), vertical_spacing=0.35 / lines)
    for place, param in enumerate(params):
        line, column = place // COLUMNS + 1, place % COLUMNS + 1
        name = param["name"]
        having = [row for row in rows if name in row.params]
        for trace in _by_state(having, lambda row, param=param: _value(row, param)):
            trace.showlegend = place == 0
            figure.add_trace(trace, row=line, col=column)
        figure.update_xaxes(_axis(param), title_text=_fitted(name, 40), row=line, col=column)
    figure.update_layout(height=ROW_PX * lines, title_text=sweep.objective.metric)
    return figure


def parallel(rows: Sequence[TrialRow], sweep: SweepConfig) -> go.Figure:
    """Return a line for each trial through its parameters to its value.

    Plotly draws a line through all axes or not at all: trials that do not have a parameter stand at the lower end of
    its axis, under the name "none", or "not set" where none is an option.
    """
    scored = [row for row in rows if row.value is not None]
    values = [row.value for row in scored]
    dimensions = [_dimension(param, scored) for param in params_payload(scored, sweep)]
    if dimensions:
        dimensions.append({"label": sweep.objective.metric, "values": values})
    better = sweep.objective.direction == "maximize"
    line = {"color": values, "colorscale": "Viridis", "reversescale": not better, "showscale": True}
    figure = go.Figure(go.Parcoords(dimensions=dimensions, line=line) if dimensions else None)
    figure.update_layout(margin={"l": 90, "r": 60, "t": 70, "b": 40})
    return figure


def importances(found: Mapping[str, float]) -> go.Figure:
    """Return how much each parameter distinguishes the best trials from the rest, the largest above."""
    ordered = sorted(found.items(), key=lambda item: item[1])
    bar = go.Bar(x=[share for _, share in ordered], y=[name for name, _ in ordered], orientation="h")
    figure = go.Figure(bar)
    figure.update_layout(xaxis_title="share of the importance", yaxis={"automargin": True})
    return figure


def pareto(rows: Sequence[TrialRow], sweep: SweepConfig, cost: str) -> go.Figure:
    """Return the value against a cost, and the complete trials that no other one beats in both."""
    spent = {row.number: value for row in rows if row.outcome and (value := row.outcome.value_of(cost)) is not None}
    known = [row for row in rows if row.number in spent and row.value is not None]
    figure = go.Figure(_by_state(known, lambda row: spent[row.number]))
    goals = (GoalConfig(metric=sweep.objective.metric, direction=sweep.objective.direction), GoalConfig(metric=cost))
    numbers = pareto_front(known, goals)
    front = sorted((row for row in known if row.number in numbers), key=lambda row: spent[row.number])
    if front:
        x, y = [spent[row.number] for row in front], [row.value for row in front]
        line = {"shape": "hv", "color": BEST}
        figure.add_scatter(x=x, y=y, mode="lines+markers", name="Pareto front", line=line)
    figure.update_layout(xaxis_title=cost, yaxis_title=sweep.objective.metric)
    return figure


def times(rows: Sequence[TrialRow]) -> go.Figure:
    """Return the training seconds of each trial."""
    figure = go.Figure()
    for state in SYMBOLS:
        some = [row for row in rows if row.state.value == state and row.seconds is not None]
        if some:
            bars = go.Bar(x=[row.number for row in some], y=[row.seconds for row in some], name=state)
            figure.add_trace(bars.update(marker={"color": COLORS[state]}))
    figure.update_layout(_layout("trial", "training seconds", len(rows)), barmode="stack")
    return figure


def _by_state(rows: Sequence[TrialRow], x: Any) -> list[go.Scatter]:
    """Return one trace of points for each state, so that states look alike in all figures."""
    found = []
    for state, symbol in SYMBOLS.items():
        some = [row for row in rows if row.state.value == state and row.value is not None]
        if some:
            found.append(
                go.Scatter(
                    x=[x(row) for row in some],
                    y=[row.value for row in some],
                    mode="markers",
                    name=state,
                    legendgroup=state,
                    text=[f"trial {row.number}" for row in some],
                    marker={"color": COLORS[state], "symbol": symbol, "size": 8},
                )
            )
    return found


def _layout(x: str, y: str, most: int) -> dict[str, Any]:
    ticks = {"dtick": 1} if most <= LONGEST_TICKED else {"tickformat": ",d"}
    return {"xaxis": {"title": {"text": x}, **ticks}, "yaxis": {"title": {"text": y}}}


def _value(row: TrialRow, param: Mapping[str, Any]) -> Any:
    value = row.params[param["name"]]
    return value if param["kind"] == "number" else str(value)


def _axis(param: Mapping[str, Any]) -> dict[str, Any]:
    if param["kind"] == "category":
        names = [str(value) for value in param["values"]]
        ticks = {"tickvals": names, "ticktext": _told_apart(names)}
        return {"type": "category", "categoryorder": "array", "categoryarray": names, **ticks}
    if param["log"]:
        return {"type": "log", "exponentformat": "e", "dtick": "D2"}
    return {"nticks": 6, **({"tickformat": ",d"} if param["whole"] else {})}


def _dimension(param: Mapping[str, Any], rows: Sequence[TrialRow]) -> dict[str, Any]:
    """Return an axis of the parallel coordinates; what a trial does not have stands below all values."""
    given = [row.params.get(param["name"]) for row in rows]
    values: list[float]
    marks: dict[float, str]
    if param["kind"] == "category":
        named = [str(value) for value in param["values"]]
        missing = "none" if "none" not in named else "not set"  # `none` may be an option itself
        told = [missing if value is None else str(value) for value in given]
        order = [text for text in (missing, *named) if text in told]
        values, marks = [order.index(text) for text in told], dict(enumerate(_told_apart(order)))
    else:
        scale = math.log10 if param["log"] else float
        known = [scale(value) for value in given if value is not None]
        low, high = min(known), max(known)
        below = low - 0.2 * (high - low or 1.0)
        values = [below if value is None else scale(value) for value in given]
        marks = {place: f"{10**place if param['log'] else place:.3g}" for place in (low, (low + high) / 2, high)}
        marks |= {below: "none"} if None in given else {}
    return {
        "label": _fitted(param["name"], 20),
        "values": values,
        "tickvals": list(marks),
        "ticktext": [*marks.values()],
    }


def _told_apart(texts: Sequence[str]) -> list[str]:
    """Shorten texts, but not so far that two of them look alike."""
    longest = max(map(len, texts), default=0)
    lengths = (most for most in range(LABEL, longest + 1) if len({_fitted(text, most) for text in texts}) == len(texts))
    most = next(lengths, longest)
    return [_fitted(text, most) for text in texts]


def _fitted(text: str, most: int) -> str:
    """Shorten a text in its middle: names of one branch begin alike, and parameters of one kind end alike."""
    end = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - end]}…{text[-end:]}"
