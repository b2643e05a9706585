"""The records of a study stay at one address in MLflow, unless another one is named, which is said."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper.addresses import sqlite_address
from sweeper.config.sweep import SweepConfig
from sweeper.engines.starting import clock_of, start_engine
from sweeper.errors import TrackingError
from sweeper.library.run import run as run_from_a_program
from sweeper.paths import Workspace
from sweeper.search.stored_trial import CARD
from sweeper.search.study_store import StudyStore
from sweeper.study.backbone_ranking import Ranked
from sweeper.study.card import _tell_of_another, read_card, write_card
from sweeper.study.run import run_sweep
from sweeper.upkeep.sync import sync_study
from tests.field.folders import runs
from tests.functional.answer import Ask, ask
from tests.study.test_driver import Silent

__all__ = ["ask"]  # a fixture


@pytest.fixture(autouse=True)
def told_again() -> Iterator[None]:
    _tell_of_another.cache_clear()
    yield
    _tell_of_another.cache_clear()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, created: Path) -> str:
    database = tmp_path_factory.mktemp("server") / "records.db"
    database.write_bytes(created.read_bytes())
    return sqlite_address(database)


def sweep_of(trials: int, study: str = "s") -> SweepConfig:
    content = {
        "study": study,
        "dataset": {"path": "nowhere"},
        "budget": {"trials": trials, "epochs": 2},
        "pruner": "none",
        "search": {"backbone": "test_resnet", "weight_decay": {"float": [0, 1]}},
        "engine": "simulate",
    }
    return SweepConfig.model_validate(content)


def run(
    workspace: Workspace, trials: int, named: str | None = None, study: str = "s", ranked: Ranked | None = None
) -> None:
    sweep = sweep_of(trials, study)
    clock = clock_of(sweep)
    run_sweep(
        sweep,
        workspace=workspace,
        storage_url=sqlite_address(workspace.optuna_database),
        tracking_uri=named,
        engine=lambda: start_engine(sweep, workspace, "1", clock=clock),
        observer=Silent(),
        clock=clock,
        ranked=ranked,
    )


def own(workspace: Workspace) -> str:
    return sqlite_address(workspace.mlflow_database)


def test_a_begun_study_goes_on_where_its_records_are(
    workspace: Workspace, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, 1, server)
    run(workspace, 2)
    assert sorted(runs(server)) == ["s", "trial-0000", "trial-0001"]
    assert runs(own(workspace)) == {}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_environment_names_the_address_of_new_studies_alone(
    workspace: Workspace, server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, 1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    run(workspace, 2)
    assert sorted(runs(own(workspace))) == ["s", "trial-0000", "trial-0001"]
    assert "that is used, not MLFLOW_TRACKING_URI" in caplog.text
    run(workspace, 1, study="t")
    assert sorted(runs(server, "t")) == ["t", "trial-0000"]


def test_another_address_that_is_named_is_taken_and_said(
    workspace: Workspace, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(workspace, 1)
    run(workspace, 2, server)
    assert f"the study s was recorded at sqlite:///mlflow.db until now: its further runs go to {server}" in caplog.text
    assert "trial-0001" in runs(server)
    run(workspace, 3)
    assert "trial-0002" in runs(server)


def test_an_address_with_credentials_must_be_named_again(workspace: Workspace) -> None:
    run(workspace, 1)
    card = read_card(workspace.study("s"))
    assert card is not None
    write_card(workspace.study("s"), card.model_copy(update={"tracking_uri": "https://me:secret@host"}))
    with pytest.raises(TrackingError, match="credentials of an address are never stored; name the whole address"):
        run(workspace, 2)


def test_a_search_records_where_the_ranking_of_its_backbones_did(workspace: Workspace, server: str) -> None:
    ranking = sweep_of(1, "s-backbones")
    run(workspace, 1, server, "s-backbones")
    run(workspace, 1, ranked=Ranked(sweep_of(1), ranking=ranking))
    assert "trial-0000" in runs(server)


def test_a_program_goes_on_where_the_records_are(
    workspace: Workspace, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.root)
    for trials, address in ((1, server), (2, None)):
        space = sweep_of(trials).model_dump(mode="json", by_alias=True, exclude_defaults=True)
        run_from_a_program(space, tracking_uri=address)
    assert sorted(runs(server)) == ["s", "trial-0000", "trial-0001"]


def test_the_same_command_without_the_address_goes_on_where_the_records_are(
    workspace: Workspace, server: str, ask: Ask
) -> None:
    space = sweep_of(1).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    (workspace.root / "space.yaml").write_text(json.dumps(space))
    for trials, address in (("1", ["--tracking-uri", server]), ("2", [])):
        answer = ask("run", "space.yaml", "--trials", trials, "--no-report", *address)
        assert answer.code == 0, answer.err
        assert f"mlflow ui --backend-store-uri {server}" in answer.out
    assert sorted(runs(server)) == ["s", "trial-0000", "trial-0001"]


def test_the_address_that_was_synced_to_is_that_of_the_study_from_then_on(workspace: Workspace, server: str) -> None:
    run(workspace, 1)
    storage = sqlite_address(workspace.optuna_database)
    sync_study(workspace, storage, "s", server)
    run(workspace, 2)
    assert "trial-0001" in runs(server)
    noted = StudyStore.load(storage, "s").noted(CARD)
    assert noted is not None
    assert noted["tracking_uri"] == server


def test_where_nothing_was_delivered_the_address_stays(workspace: Workspace) -> None:
    run(workspace, 1)
    before = read_card(workspace.study("s"))
    with pytest.raises(TrackingError):
        sync_study(workspace, sqlite_address(workspace.optuna_database), "s", "http://127.0.0.1:9")
    assert read_card(workspace.study("s")) == before
