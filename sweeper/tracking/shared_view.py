"""What MLflow shows of a study first: the columns and charts that compare its trials, as a shared view.

MLflow keeps such a view as JSON in a tag of the experiment, compressed by zlib, and opens the one that an address names
by its key. The form is that of MLflow's own page, 3.17; what another version does not know it leaves out.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from sweeper.config.sweep import ObjectiveConfig
from sweeper.tracking.tags import STATE_TAG

VIEW_KEY = "sweeper"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"
GRID = "confusion"
"""The name under which the page finds the confusion matrices of all trials, for a grid of images."""

COMPRESSED = "deflate;"
TRIALS_FIRST = "attributes.run_name LIKE 'trial-%'"
"""Shows the trials, and not the parent run alone, under which they stand."""

SIZES = {"Parameters and score": (1, 420), "Confusion matrices": (1, 720)}
"""Charts beside each other in a section, and their height in pixels, where they need more than the page gives them."""

MOST_SCATTERED = 40
"""Charts of the score against a parameter: more would only be scrolled past."""

GENERATED = ("val", "train", "Model metrics", "time", "memory", "cost", "best", "best/train", "best/val")
"""Sections to which the page itself adds a chart for each other metric, by what its name begins with: as it finds them
here, those of an epoch stand before those of the best one."""


def experiment_tags(objective: ObjectiveConfig, searched: Mapping[str, bool]) -> dict[str, str]:
    """Return the tag that holds the view of a study.

    `searched` are the parameters that the trials differ in, by their names in MLflow, and whether every trial has it.
    """
    content = json.dumps(view(objective, searched), separators=(",", ":"))
    return {VIEW_TAG: COMPRESSED + base64.b64encode(zlib.compress(content.encode(), 9)).decode()}


def address_query() -> dict[str, str]:
    """Return what an address of the page says to open the view, on its charts."""
    return {"workflowType": "machine_learning", "compareRunsMode": "CHART", "viewStateShareKey": VIEW_KEY}


def view(objective: ObjectiveConfig, searched: Mapping[str, bool]) -> dict[str, Any]:
    """Return the state of MLflow's page: filter and order, columns of the table, sections of charts."""
    score = f"best/{objective.metric}"
    own = [_column("metrics", score), _column("metrics", "best/epoch"), _column("tags", STATE_TAG)]
    columns = [*own, _column("attributes", "Duration"), *(_column("params", name) for name in searched)]
    sections = {
        "Learning curves": [_line(metric) for metric in dict.fromkeys((objective.metric, "val/loss", "train/loss"))],
        "Parameters and score": [_parallel([name for name, always in searched.items() if always], score)],
        "Score by parameter": [_scatter(name, score) for name in list(searched)[:MOST_SCATTERED]],
        "Confusion matrices": [{"type": "IMAGE", "imageKeys": [GRID], "step": 0, "showRunParams": False}],
    }
    return {
        "searchFilter": TRIALS_FIRST,
        "orderByKey": _column("metrics", score),
        "orderByAsc": objective.direction == "minimize",
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,  # or the sections would be sorted by name
        "hideEmptyCharts": True,
        "compareRunSections": [_section(name) for name in (*sections, *GENERATED)],
        "compareRunCharts": [
            _placed(chart, name, place) for name in sections for place, chart in enumerate(sections[name])
        ],
    }


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _line(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "range": {},
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _parallel(names: Sequence[str], score: str) -> dict[str, Any]:
    return {"type": "PARALLEL", "selectedParams": list(names), "selectedMetrics": [score], "showAllRuns": True}


def _scatter(name: str, score: str) -> dict[str, Any]:
    axes = {"xaxis": {"key": name, "type": "PARAM"}, "yaxis": {"key": score, "type": "METRIC"}}
    return {"type": "SCATTER", "displayName": f"{score} by {name}", **axes}


def _section(name: str) -> dict[str, Any]:
    columns, height = SIZES.get(name, (3, 360))
    size = {"columns": columns, "cardHeight": height}
    return {"uuid": _uuid(name), "name": name, "display": True, "isReordered": True, **size}


def _placed(chart: Mapping[str, Any], section: str, place: int) -> dict[str, Any]:
    """Put a chart into its section."""
    name = f"{_uuid(section)}-{place}"
    more = {"uuid": name, "metricSectionId": _uuid(section), "deleted": False, "isGenerated": False}
    return {"runsCountToCompare": 100, **chart, **more}


def _uuid(section: str) -> str:
    return f"sweeper-{section.lower().replace(' ', '-').replace('/', '-')}"
