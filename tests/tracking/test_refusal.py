"""What is said of MLflow's errors: their first cause in one line, and what to change where they stay."""

from __future__ import annotations

import json
import ssl

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException

from sweeper.errors import TrackingError, TrackingRefused
from sweeper.paths import Workspace
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.refusal import place_refused, tracking_error
from tests.field.answers import server_that_answers
from tests.tracking.server import free_port

HERE = "https://host"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def answered(status: int, content: dict[str, str] | None) -> requests.HTTPError:
    answer = requests.Response()
    answer.status_code = status
    answer._content = b"" if content is None else json.dumps(content).encode()
    return requests.HTTPError(f"{status} Client Error for url: https://host/long/address", response=answer)


def test_a_server_that_is_away_is_told_by_the_first_cause_alone(workspace: Workspace) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TrackingError) as told:
        MlflowStore(uri, workspace).require_answer()
    assert str(told.value) == f"MLflow at {uri}: [Errno 111] Connection refused"


def test_a_server_in_trouble_sends_its_user_to_its_log(workspace: Workspace) -> None:
    with server_that_answers(503) as uri, pytest.raises(TrackingError, match=r"503.*; its log says why$"):
        MlflowStore(uri, workspace).require_answer()


def test_a_wrong_log_in_is_told_apart_from_none(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with server_that_answers(401) as uri:
        with pytest.raises(TrackingRefused, match=r"it wants to know who asks\. This stays so: log in with MLFLOW_"):
            MlflowStore(uri, workspace).require_answer()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        with pytest.raises(TrackingRefused, match=r"does not accept this user name and password\. .* correct MLFLOW_"):
            MlflowStore(uri, workspace).require_answer()
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
        with pytest.raises(TrackingRefused, match="does not accept") as told:
            MlflowStore(uri.replace("//", "//ada:wrong@"), workspace).require_answer()
        assert "wrong" not in str(told.value)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (9, "clock"),
        (10, "a new certificate"),
        (18, "MLFLOW_TRACKING_SERVER_CERT_PATH"),
        (62, "as its certificate does"),
        (64, "as its certificate does"),
    ],
)
def test_what_to_change_follows_from_what_is_wrong_with_a_certificate(number: int, remedy: str) -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code = number
    error = MlflowException("API request to https://host/api failed with exception HTTPSConnectionPool(...)")
    error.__cause__ = requests.exceptions.SSLError("Max retries exceeded (Caused by SSLError(...))")
    error.__cause__.__cause__ = cause
    told = tracking_error(error, HERE)
    assert isinstance(told, TrackingRefused)
    assert "Max retries" not in str(told)
    assert "certificate verify failed" in str(told)
    assert remedy in str(told)


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED", "UNAUTHENTICATED"])
def test_a_place_of_files_that_is_gone_or_closed_to_the_server_is_a_refusal_in_the_servers_words(code: str) -> None:
    said = "Failed to list artifacts in s3://records: The specified bucket does not exist"
    for error in (answered(404, {"error_code": code, "message": said}), MlflowException(said)):
        if isinstance(error, MlflowException):
            error.error_code = code
        told = place_refused(error, HERE)
        assert told is not None
        assert str(told).startswith(f"MLflow at {HERE}: {said}. This stays so: ")
        assert "make that place again" in str(told)


def test_a_run_that_is_gone_says_nothing_of_the_place_of_its_files() -> None:
    assert place_refused(RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}), HERE) is None
    assert place_refused(answered(500, None), HERE) is None


def test_an_answer_about_files_is_told_without_addresses() -> None:
    error = answered(400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid path"})
    assert str(tracking_error(error, HERE)).startswith(f"MLflow at {HERE}: Invalid path. This stays so")
    assert str(tracking_error(answered(507, None), HERE)).startswith(f"MLflow at {HERE}: it answers with status 507.")


def test_a_store_that_needs_a_package_says_which(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MlflowStore(f"sqlite:///{workspace.mlflow_database}", workspace)
    with store.client() as client:
        experiment = client.create_experiment("direct", artifact_location="s3://records/direct")
    run = store.create_run(experiment, "run", {}, 1)
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    file = workspace.root / "file.txt"
    file.write_text("text")
    with pytest.raises(TrackingRefused, match=r"boto3.*install that package here"):
        store.log_artifact(run, file, "")
