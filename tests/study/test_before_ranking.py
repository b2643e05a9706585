"""What refuses a search is told before its backbones are ranked."""

from __future__ import annotations

from typing import Any

import mlflow
import pytest

from sweeper.addresses import sqlite_address
from sweeper.config.sweep import SweepConfig
from sweeper.errors import ConfigError, StudyLocked, StudyNotFound, TrackingRefused
from sweeper.identity import new_id
from sweeper.paths import Workspace
from sweeper.study.backbone_ranking import rank_backbones
from sweeper.study.lock import study_lock
from sweeper.study.result import SweepResult
from sweeper.study.runner import Runner
from sweeper.tracking.tags import ID_TAG
from tests.study.test_backbone_ranking import sweep_of


class Began(Exception):
    """The ranking has begun."""


def rank(sweep: SweepConfig, workspace: Workspace) -> None:
    def begin(*_: object, **__: object) -> SweepResult:
        raise Began

    url, tracking = sqlite_address(workspace.optuna_database), sqlite_address(workspace.mlflow_database)
    runner = Runner(workspace, url, tracking, None, None)
    rank_backbones(sweep, url, begin, runner.require_possible)


def searching(**search: Any) -> SweepConfig:
    return sweep_of(search={**sweep_of().search.model_dump(mode="json", by_alias=True), **search})


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        (sweep_of(sampler="grid"), r"optimizer\.lr"),
        (searching(image_size={"int": [32, 96], "step": 8}), "at most 8 different sizes are decoded"),
    ],
)
def test_a_search_space_that_cannot_be_is_refused_before_its_backbones_are_ranked(
    workspace: Workspace, sweep: SweepConfig, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        rank(sweep, workspace)
    assert not workspace.state.exists()


@pytest.mark.parametrize(
    ("search", "key"),
    [
        ({"teacher": {"name": "study:gone/best"}}, "search.teacher"),
        ({"pretrained": {"choice": [True, "study:gone/3"]}}, "search.pretrained"),
    ],
)
def test_a_study_that_is_named_and_missing_is_told_before_backbones_are_ranked(
    workspace: Workspace, search: dict[str, Any], key: str
) -> None:
    with pytest.raises(StudyNotFound, match=f"{key} is study:gone"):
        rank(searching(**search), workspace)


def test_records_that_mlflow_will_not_take_are_told_before_backbones_are_ranked(workspace: Workspace) -> None:
    with pytest.raises(Began):
        rank(sweep_of(), workspace)
    client = mlflow.MlflowClient(sqlite_address(workspace.mlflow_database))
    client.create_experiment("birds", artifact_location=workspace.root.as_uri(), tags={ID_TAG: new_id()})
    with pytest.raises(TrackingRefused, match="study birds on this server belongs to an earlier study"):
        rank(sweep_of(), workspace)


def test_a_study_that_runs_is_told_before_its_backbones_are_ranked(workspace: Workspace) -> None:
    with study_lock(workspace.study("birds"), "birds"), pytest.raises(StudyLocked):
        rank(sweep_of(), workspace)
