"""Deleting a study takes what is the study's, leaves all else, and can be repeated after it was cut; on real stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from sqlalchemy import create_engine, text

from sweeper.addresses import sqlite_address
from sweeper.config.sweep import SweepConfig
from sweeper.display.deletion import deletion_lines, trash_lines
from sweeper.errors import ForeignStudy, StudyLocked, StudyNotFound, TrackingError, TrackingRefused
from sweeper.files import write_whole
from sweeper.paths import Workspace
from sweeper.search.deletion import remove_study
from sweeper.search.study_store import StudyStore
from sweeper.study.claim import claim_study, settle, take_storage
from sweeper.study.lock import study_lock
from sweeper.tracking.delivery import Delivery, StudyCard
from sweeper.tracking.mlflow_store import MlflowStore, default_tracking_uri
from sweeper.tracking.tags import ID_TAG, PLACE_TAG
from sweeper.upkeep import deletion
from sweeper.upkeep.deletion import delete_study, plan_deletion
from tests.search.asking import next_trial
from tests.tracking.test_delivery import CARD, write_trial
from tests.upkeep.test_doctor import end_trial


def begun(workspace: Workspace, study: str) -> StudyStore:
    """A study of this folder with a trial that has ended and one that has not, and their runs."""
    content: dict[str, Any] = {
        "study": study,
        "dataset": {"builtin": "digits"},
        "budget": {"trials": 3, "epochs": 3},
        "search": {"backbone": "r", "drop_rate": {"float": [0, 0.5]}},
    }
    url, folder, uri = (
        sqlite_address(workspace.optuna_database),
        workspace.study(study),
        default_tracking_uri(workspace),
    )
    with study_lock(folder, study):
        claim = claim_study(workspace, url, study)
        settle(claim, workspace)
        store = StudyStore.create_or_load(url, SweepConfig.model_validate(content))
        take_storage(claim, store)
        card = StudyCard(
            study=study, identity=claim.identity, tracking_uri=uri, start_ms=1000, params={}, tags={}, dataset=CARD
        )
        write_whole(folder.card, card.model_dump_json())
        delivery = Delivery(MlflowStore(uri, workspace), folder, card)
        end_trial(store, folder)
        delivery.deliver_trial(folder.trial(0), ended=True, running=False)
        spec = next_trial(store)
        assert spec is not None
        write_trial(folder.trial(spec.number), 2)
        delivery.deliver_sweep("KILLED")
        store.close()
    return StudyStore.load(url, study)


@pytest.fixture
def store(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> StudyStore:
    monkeypatch.chdir(workspace.root)
    return begun(workspace, "s")


@pytest.fixture
def client(workspace: Workspace) -> MlflowClient:
    return MlflowClient(default_tracking_uri(workspace))


def rows_in(database: Path) -> dict[str, int]:
    """Return how many rows each of Optuna's tables has, but for those of its own version."""
    engine = create_engine(sqlite_address(database))
    with engine.connect() as connection:
        tables = connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
        counts = {name: connection.scalar(text(f"SELECT COUNT(*) FROM {name}")) for name in tables}  # noqa: S608
    engine.dispose()
    return {name: count for name, count in counts.items() if count and "version" not in name}


def test_what_goes_and_what_stays_is_told_before(workspace: Workspace, store: StudyStore) -> None:
    workspace.export("s").mkdir(parents=True)
    told = deletion_lines(plan_deletion(workspace, store, None, keep_runs=False), "optuna.db")
    assert told[:2] == ["study s: this is deleted", "  2 trials (1 complete, 1 running) in optuna.db"]
    assert told[2].startswith("  .sweeper/studies/s, ")
    assert told[3].startswith("  2 runs of the experiment s in MLflow")
    assert told[4:] == ["this stays", "  exports/s, 0.0 MB"]
    assert len(StudyStore.load(store.url, "s").rows()) == 2


def test_a_deleted_study_leaves_nothing_in_storage_folder_and_tracking(
    workspace: Workspace, store: StudyStore, client: MlflowClient
) -> None:
    export = workspace.export("s") / "model.onnx"
    write_whole(export, b"")
    delete_study(workspace, store, None, keep_runs=False)
    assert rows_in(workspace.optuna_database) == {}
    assert not workspace.study("s").path.exists()
    assert client.get_experiment_by_name("s") is None
    assert export.exists()


def test_a_new_study_may_have_the_name_of_a_deleted_one(workspace: Workspace, store: StudyStore) -> None:
    before = store.identity
    delete_study(workspace, store, None, keep_runs=False)
    again = begun(workspace, "s")
    assert again.identity != before
    planned = plan_deletion(workspace, again, None, keep_runs=False)
    assert planned.runs is not None
    assert len(planned.runs.runs) == 2


def test_another_study_loses_nothing(workspace: Workspace, store: StudyStore, client: MlflowClient) -> None:
    other = begun(workspace, "other")
    delete_study(workspace, store, None, keep_runs=False)
    assert len(other.rows()) == 2
    assert workspace.study("other").trial(1).spec.exists()
    experiment = client.get_experiment_by_name("other")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_a_name_that_differs_by_its_case_is_another_study(workspace: Workspace, store: StudyStore) -> None:
    """What an extension keeps aside is called after its study."""
    for name in ("S", "S~1", "s~1"):
        StudyStore.create_or_load(store.url, store.sweep.model_copy(update={"study": name})).close()
    remove_study(store.url, "S", None)
    engine = create_engine(store.url)
    with engine.connect() as connection:
        assert set(connection.scalars(text("SELECT study_name FROM studies"))) == {"s", "s~1"}
    engine.dispose()


def test_runs_of_others_in_the_experiment_stay_and_so_does_it(
    workspace: Workspace, store: StudyStore, client: MlflowClient
) -> None:
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    foreign = client.create_run(experiment.experiment_id, tags={"sweeper.study": "s", ID_TAG: "0123"}).info.run_id
    planned = plan_deletion(workspace, store, None, keep_runs=False)
    assert "1 run in the experiment s that are not" in "\n".join(deletion_lines(planned, "optuna.db"))
    told, command = trash_lines(planned)
    assert "--run-ids " in command
    assert "--experiment-ids" not in command
    assert "with them all deleted experiments and models, whoever's they are" in told
    delete_study(workspace, store, None, keep_runs=False)
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [foreign]
    left = client.get_experiment(experiment.experiment_id)
    assert left.lifecycle_stage == "active"
    assert not {ID_TAG, PLACE_TAG} & left.tags.keys()


@pytest.mark.parametrize("step", ["trash_runs", "_empty", "remove_study"])
def test_a_deletion_that_was_cut_is_repeated(
    workspace: Workspace, store: StudyStore, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    whole: Callable[..., Any] = getattr(deletion, step)

    def cut(*arguments: Any) -> None:
        if step != "remove_study":  # whose transaction is undone
            whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(deletion, step, cut)
    with pytest.raises(KeyboardInterrupt):
        delete_study(workspace, store, None, keep_runs=False)
    monkeypatch.setattr(deletion, step, whole)
    delete_study(workspace, StudyStore.load(store.url, "s"), None, keep_runs=False)
    assert rows_in(workspace.optuna_database) == {}
    assert not workspace.study("s").path.exists()
    assert client.get_experiment_by_name("s") is None


def test_a_study_that_runs_is_not_deleted(workspace: Workspace, store: StudyStore) -> None:
    with study_lock(workspace.study("s"), "s"), pytest.raises(StudyLocked):
        delete_study(workspace, store, None, keep_runs=False)
    assert len(store.rows()) == 2


def test_a_study_that_somebody_else_has_just_deleted_is_not_found(workspace: Workspace, store: StudyStore) -> None:
    delete_study(workspace, StudyStore.load(store.url, "s"), None, keep_runs=False)
    with pytest.raises(StudyNotFound, match="no study is called s"):
        delete_study(workspace, store, None, keep_runs=False)
    assert not workspace.study("s").path.exists()
    assert rows_in(workspace.optuna_database) == {}


def test_a_study_that_goes_while_it_is_removed_is_not_found(store: StudyStore) -> None:
    remove_study(store.url, "s", store.lease_number)
    with pytest.raises(StudyNotFound, match="no study is called s"):
        remove_study(store.url, "s", None)


def test_without_its_server_a_study_keeps_everything_unless_its_runs_may_stay(
    workspace: Workspace, store: StudyStore
) -> None:
    nobody = "http://127.0.0.1:9"
    with pytest.raises(TrackingError):
        delete_study(workspace, store, nobody, keep_runs=False)
    assert workspace.study("s").trial(1).spec.exists()
    assert len(store.rows()) == 2
    delete_study(workspace, store, nobody, keep_runs=True)
    with pytest.raises(StudyNotFound):
        StudyStore.load(store.url, "s")


def test_the_runs_of_another_folder_are_not_deleted_on_a_shared_server(
    workspace: Workspace, store: StudyStore, tmp_path_factory: pytest.TempPathFactory, client: MlflowClient
) -> None:
    """As where this folder is a copy: its database is its own, the server is not."""
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    client.set_experiment_tag(experiment.experiment_id, PLACE_TAG, "another place")
    shared = tmp_path_factory.mktemp("server") / "mlflow.db"
    workspace.mlflow_database.rename(shared)
    with pytest.raises(TrackingRefused, match="recorded from another folder"):
        delete_study(workspace, store, sqlite_address(shared), keep_runs=False)
    assert len(store.rows()) == 2


def test_a_study_of_another_folder_is_not_deleted(
    workspace: Workspace, store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Workspace(tmp_path / "elsewhere")
    elsewhere.root.mkdir()
    monkeypatch.chdir(elsewhere.root)
    with pytest.raises(ForeignStudy):
        delete_study(elsewhere, store, default_tracking_uri(workspace), keep_runs=False)
    assert len(store.rows()) == 2


def test_after_an_experiment_was_deleted_in_mlflow_a_study_of_the_name_may_begin_anew(
    workspace: Workspace, store: StudyStore, client: MlflowClient
) -> None:
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    delete_study(workspace, store, None, keep_runs=False)
    begun(workspace, "s")
    assert client.get_experiment(experiment.experiment_id).lifecycle_stage == "deleted"
    made = client.get_experiment_by_name("s")
    assert made is not None
    assert made.experiment_id != experiment.experiment_id


def test_runs_that_may_stay_need_no_credentials(workspace: Workspace, store: StudyStore) -> None:
    folder = workspace.study("s")
    card = StudyCard.model_validate_json(folder.card.read_bytes())
    write_whole(folder.card, card.model_copy(update={"tracking_uri": "http://***@127.0.0.1:9"}).model_dump_json())
    plan = plan_deletion(workspace, store, None, keep_runs=True)
    assert plan.tracking_uri == "http://***@127.0.0.1:9"
    with pytest.raises(TrackingError, match="credentials"):
        plan_deletion(workspace, store, None, keep_runs=False)
    delete_study(workspace, store, None, keep_runs=True)
    assert not folder.path.exists()
