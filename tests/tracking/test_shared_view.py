"""The view of a study that MLflow's page opens."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from sweeper.config.searched import varied_fields
from sweeper.config.sweep import ObjectiveConfig, SweepConfig
from sweeper.tracking.shared_view import VIEW_TAG, experiment_tags, view

SEARCHED = {"batch_size": True, "optimizer.lr": True, "optimizer.momentum": False}


def charts(content: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [chart for chart in content["compareRunCharts"] if chart["type"] == kind]


def test_the_columns_are_the_score_the_best_epoch_the_state_the_time_and_what_was_searched() -> None:
    columns = view(ObjectiveConfig(), SEARCHED)["selectedColumns"]
    assert columns == [
        "metrics.`best/val/accuracy`",
        "metrics.`best/epoch`",
        "tags.`sweeper.state`",
        "attributes.`Duration`",
        "params.`batch_size`",
        "params.`optimizer.lr`",
        "params.`optimizer.momentum`",
    ]


def test_the_charts_are_curves_coordinates_points_for_each_parameter_and_matrices() -> None:
    content = view(ObjectiveConfig(), SEARCHED)
    assert [chart["metricKey"] for chart in charts(content, "LINE")] == ["val/accuracy", "val/loss", "train/loss"]
    (parallel,) = charts(content, "PARALLEL")
    assert parallel["selectedParams"] == ["batch_size", "optimizer.lr"]
    assert [chart["xaxis"]["key"] for chart in charts(content, "SCATTER")] == list(SEARCHED)
    assert charts(content, "IMAGE")[0]["imageKeys"] == ["confusion"]


def test_every_chart_stands_in_a_section_and_has_a_name_of_its_own() -> None:
    content = view(ObjectiveConfig(), SEARCHED)
    sections = [section["uuid"] for section in content["compareRunSections"]]
    assert len(set(sections)) == len(sections)
    assert {chart["metricSectionId"] for chart in content["compareRunCharts"]} <= set(sections)
    names = [chart["uuid"] for chart in content["compareRunCharts"]]
    assert len(set(names)) == len(names)


def test_learning_curves_come_first_and_metrics_of_the_best_epoch_last() -> None:
    """Into sections of these names the page puts what has no chart of its own."""
    names = [section["name"] for section in view(ObjectiveConfig(), SEARCHED)["compareRunSections"]]
    assert names[0] == "Learning curves"
    assert names[-3:] == ["best", "best/train", "best/val"]
    assert names.index("Confusion matrices") < names.index("val") < names.index("best")


def test_a_loss_is_shown_with_the_lowest_first() -> None:
    assert view(ObjectiveConfig(metric="val/loss", direction="minimize"), {})["orderByAsc"] is True


def test_the_tag_holds_the_view_as_the_page_reads_it_within_mlflows_limit() -> None:
    many = {f"search.some.long.name.{number}": True for number in range(200)}
    tag = experiment_tags(ObjectiveConfig(), many)[VIEW_TAG]
    assert tag.startswith("deflate;")
    assert len(tag) < 5000
    assert json.loads(zlib.decompress(base64.b64decode(tag[8:]))) == view(ObjectiveConfig(), many)


def test_the_fields_that_trials_differ_in_are_named_as_in_a_run() -> None:
    sweep = SweepConfig.model_validate(
        {
            "study": "s",
            "dataset": {"path": "d"},
            "search": {
                "backbone": {"choice": ["a", "b"]},
                "batch_size": 32,
                "weight_decay": {"float": [0, 1]},
                "head": {"choice": [{"hidden": []}, {"hidden": [64], "dropout": {"float": [0, 0.5]}}]},
                "optimizer": {
                    "choice": [
                        {"name": "adamw", "lr": 0.1},
                        {"name": "sgd", "lr": 0.1, "momentum": {"float": [0, 0.9]}},
                    ]
                },
            },
        }
    )
    found = varied_fields(sweep.search)
    assert found["backbone"]
    assert found["head.hidden"]
    assert found["head.dropout"]
    assert found["optimizer.name"]
    assert found["optimizer.momentum"] is False
    assert {"batch_size", "optimizer.lr"}.isdisjoint(found)
