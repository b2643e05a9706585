"""A tracking address that will never take the records is not taken for one that is away; the remedy is named."""

from __future__ import annotations

from collections.abc import Iterator

import mlflow
import pytest
import requests

from sweeper.engines.protocol import Event
from sweeper.errors import TrackingError, TrackingRefused
from sweeper.results import TrialSpec
from sweeper.study import driver
from sweeper.tracking import acceptance
from sweeper.tracking.refusal import tracking_error
from sweeper.tracking.tags import ID_TAG, TRIAL_TAG
from sweeper.upkeep.sync import sync_study
from tests.field.answers import server_that_answers
from tests.field.folders import Here, content, runs
from tests.functional.program import sweeper

REFUSED = TrackingRefused.exit_code


def require_nothing_begun(here: Here) -> None:
    assert not here.workspace.optuna_database.exists()
    assert content(here.workspace.state) == {}


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (401, "UNAUTHENTICATED", "MLFLOW_TRACKING_USERNAME"),
        (401, None, "MLFLOW_TRACKING_USERNAME"),
        (403, "PERMISSION_DENIED", "ask for the right to write there"),
        (403, None, "ask for the right to write there"),
        (404, None, "no MLflow answers there: correct --tracking-uri"),
        (400, "INVALID_PARAMETER_VALUE", "see what it says"),
        (400, "RESOURCE_LIMIT_EXCEEDED", "its quota is used up"),
    ],
)
def test_a_server_that_refuses_is_reported_before_anything_is_begun(
    here: Here, status: int, code: str | None, remedy: str
) -> None:
    with (
        server_that_answers(status, code) as uri,
        pytest.raises(TrackingRefused, match=rf"{uri}.*stays so.*{remedy}"),
    ):
        here.run(1, tracking=uri)
    require_nothing_begun(here)


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "INTERNAL_ERROR"), (502, None), (503, None), (503, "TEMPORARILY_UNAVAILABLE"), (429, None), (408, None)],
)
def test_a_server_that_is_away_or_busy_does_not_stop_the_training(
    here: Here, status: int, code: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "DELIVERY_PATIENCE_S", 0.1)
    with server_that_answers(status, code) as uri:
        result = here.run(1, tracking=uri)
    assert (result.undelivered, result.refused) == (2, None)
    assert uri in str(result.trouble)
    assert [row.state.value for row in here.store.rows()] == ["complete"]
    assert sync_study(here.workspace, here.storage, "s", here.tracking) == 1


def test_a_server_that_does_not_answer_holds_up_the_start_for_seconds_only(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptance, "PATIENCE_S", 0.1)
    monkeypatch.setattr(driver, "DELIVERY_PATIENCE_S", 0.1)
    result = here.run(1, tracking="http://127.0.0.1:9")
    assert (result.undelivered, result.refused) == (2, None)


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("./mlruns", "sqlite:///mlflow.db, or a server; `mlflow migrate-filestore`"),
        ("file:mlruns", "sqlite:///mlflow.db, or a server; `mlflow migrate-filestore`"),
        ("ftp://host/mlflow", "correct --tracking-uri"),
    ],
)
def test_an_address_at_which_no_records_can_be_is_refused_before_anything_is_begun(
    here: Here, address: str, remedy: str
) -> None:
    with pytest.raises(TrackingRefused, match=remedy):
        here.run(1, tracking=address)
    require_nothing_begun(here)


def test_the_exit_code_shows_a_refusal(here: Here) -> None:
    (here.root / "space.yaml").write_text(
        "study: s\ndataset: {path: images}\nbudget: {trials: 1, epochs: 1}\n"
        "search: {backbone: test_resnet, image_size: 8}\n"
    )
    done = sweeper("run", "space.yaml", "--tracking-uri", "./mlruns", folder=here.root)
    assert done.returncode == REFUSED == 7
    told = "\nerror: MLflow at ./mlruns: it no longer keeps records in plain files. This stays so:"
    assert told in done.stderr
    require_nothing_begun(here)


def test_an_experiment_deleted_while_a_sweep_runs_is_final_and_what_waits_can_be_recorded_elsewhere(
    here: Here, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "DELIVERY_PATIENCE_S", 30.0)

    def loses_its_experiment(spec: TrialSpec) -> Iterator[Event]:
        if spec.number == 1:
            client = mlflow.MlflowClient(server)
            for experiment in client.search_experiments(filter_string="name = 's'"):
                client.delete_experiment(experiment.experiment_id)
        yield from here.trains(spec)

    result = here.run(2, tracking=server, script=loses_its_experiment)
    assert [row.state.value for row in here.store.rows()] == ["complete", "complete"]
    assert result.undelivered > 0
    assert result.refused is not None
    assert "deleted" in result.refused
    with pytest.raises(TrackingRefused, match="experiments restore --experiment-id"):
        sync_study(here.workspace, here.storage, "s", server)
    client = mlflow.MlflowClient(server)
    (experiment,) = client.search_experiments(view_type=mlflow.entities.ViewType.DELETED_ONLY)
    client.restore_experiment(experiment.experiment_id)
    sync_study(here.workspace, here.storage, "s", server)
    assert {name: run.info.status for name, run in runs(server).items()} == {
        "s": "FINISHED",
        "trial-0000": "FINISHED",
        "trial-0001": "FINISHED",
    }


def test_parameters_that_mlflow_holds_otherwise_are_final_and_every_other_trial_is_delivered(
    here: Here, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "DELIVERY_PATIENCE_S", 30.0)

    def finds_other_parameters(spec: TrialSpec) -> Iterator[Event]:
        if spec.number == 1:
            client = mlflow.MlflowClient(server)
            (experiment,) = client.search_experiments(filter_string="name = 's'")
            tags = {ID_TAG: experiment.tags[ID_TAG], TRIAL_TAG: "1"}
            run = client.create_run(experiment.experiment_id, tags=tags, run_name="by hand")
            client.log_param(run.info.run_id, "weight_decay", "0.125")
        yield from here.trains(spec)

    result = here.run(3, tracking=server, script=finds_other_parameters)
    assert result.undelivered == 1
    assert "Changing param values is not allowed" in str(result.refused)
    assert "This stays so" in str(result.refused)
    assert {"trial-0000", "trial-0002"} <= runs(server).keys()
    assert [trial.number for trial in here.folder.trials()] == [1]


@pytest.mark.parametrize(
    ("status", "stays"), [(400, True), (403, True), (413, True), (507, True), (429, False), (503, False)]
)
def test_what_a_store_of_files_answers_is_reported_by_its_status(status: int, stays: bool) -> None:
    answer = requests.Response()
    answer.status_code = status
    error = tracking_error(requests.HTTPError("no", response=answer), "http://u:secret@h")
    assert isinstance(error, TrackingRefused) is stays
    assert "secret" not in str(error)


def test_a_refusal_is_a_tracking_error_of_its_own() -> None:
    assert issubclass(TrackingRefused, TrackingError)
    assert TrackingRefused.exit_code != TrackingError.exit_code
