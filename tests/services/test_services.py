"""Sweeps on PostgreSQL, an MLflow server with log-in and TLS, and an object store: whole, and with faults."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

from sweeper.errors import StudyError, TrackingRefused
from sweeper.tracking.mlflow_store import MlflowStore
from tests.functional.chaos import PATIENCE_S, STUDY, Sandbox, check, end_group
from tests.postgres import ACCOUNT
from tests.services.certificate import Authority
from tests.services.conftest import Served
from tests.services.stack import BUCKET, DATABASE_PASSWORD, PASSWORD, STORE_KEY, USER, Stack

pytestmark = pytest.mark.slow


def told(sandbox: Sandbox, *arguments: str) -> tuple[int, str]:
    """Run a command to its end, and return its exit code and what it said."""
    before = len(sandbox.said())
    code = sandbox.run(*arguments)
    return code, sandbox.said()[before:]


def require_one_line(said: str, *parts: str) -> None:
    """Assert that an error is told in one line with all these parts, and without a traceback."""
    assert "Traceback" not in said, said
    (line,) = re.findall(r"^error: .*$", said, re.MULTILINE)
    assert all(part in line for part in parts), line


def wait_until_said(sandbox: Sandbox, process: subprocess.Popen[bytes], text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while text not in sandbox.said():
        assert process.poll() is None, sandbox.said()
        assert time.monotonic() < deadline, sandbox.said()
        time.sleep(0.05)


@contextmanager
def training(sandbox: Sandbox) -> Iterator[subprocess.Popen[bytes]]:
    """Give a sweep whose first trial trains."""
    process = sandbox.start()
    try:
        wait_until_said(sandbox, process, "trial 0 epoch 2/")
        yield process
    finally:
        end_group(process)


@pytest.fixture(scope="module")
def finished(make_served: Callable[[Path], Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A study that was run to its end."""
    sandbox = make_served(tmp_path_factory.mktemp("finished"))
    assert sandbox.run() == 0, sandbox.said()
    return sandbox


@pytest.fixture
def asking(finished: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    for name, value in finished.environment.items():
        monkeypatch.setenv(name, value)
    return finished


def test_a_sweep_on_services_gives_what_one_on_files_gives_and_its_files_are_in_the_object_store(
    asking: Served, reference: Sandbox
) -> None:
    check(asking, reference, {}, asking.tracking_uri, asking.name)
    kept = [key.rpartition("/artifacts/")[2] for key in asking.stack.store.objects()]
    assert sum(name.startswith("weights/") for name in kept) >= 3
    assert not (asking.root / "mlflow.db").exists()
    assert not (asking.root / "optuna.db").exists()


def test_a_winner_is_exported_registered_and_evaluated_and_the_doctor_is_content(asking: Served) -> None:
    for command in (
        ("best", STUDY, "--export"),
        ("register", STUDY),
        ("evaluate", STUDY, "--split", "val"),
        ("report", STUDY),
        ("sync", STUDY),
        ("doctor", STUDY),
    ):
        code, said = told(asking, *command)
        assert code == 0, (command, said)
        assert "not registered" not in said
    client = mlflow.MlflowClient(asking.tracking_uri)
    assert client.get_model_version_by_alias(asking.name, "best").version == "1"


def test_no_password_is_left_in_the_folder_or_said(asking: Served) -> None:
    secrets = [secret.encode() for secret in (PASSWORD, DATABASE_PASSWORD, STORE_KEY)]
    files = [path for path in asking.root.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert "--storage" not in asking.said()  # the next command reads it from the environment too
    assert not [secret for secret in secrets if secret.decode() in asking.said()]
    assert [path for path in files if any(secret in path.read_bytes() for secret in secrets)] == []


def test_a_server_killed_and_restarted_within_a_sweep_gets_everything_once(
    served: Served, stack: Stack, reference: Sandbox
) -> None:
    with training(served) as process:
        stack.server.kill()
        wait_until_said(served, process, "waits on disk")
        stack.server.start()
        assert process.wait(PATIENCE_S) == 0, served.said()
    assert "Traceback" not in served.said()
    assert "Connection refused; what is recorded waits on disk" in served.said()
    assert told(served, "sync", STUDY)[0] == 0  # the sweep may have ended before the server was up
    check(served, reference, {}, served.tracking_uri, served.name)


def forget_the_password(stack: Stack) -> Callable[[], None]:
    stack.change_password(USER, "another-one-0f-ada")
    return lambda: stack.change_password(USER, PASSWORD)


def let_the_certificate_expire(stack: Stack) -> Callable[[], None]:
    stack.serve_with(stack.expired)
    return lambda: stack.serve_with(stack.certificate)


def drop_the_bucket(stack: Stack) -> Callable[[], None]:
    stack.store.drop_bucket()
    return stack.store.make_bucket


FAULTS = {
    "password": (
        forget_the_password,
        "it does not accept this user name and password",
        "correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    "certificate": (let_the_certificate_expire, "certificate has expired", "the server needs a new certificate"),
    "bucket": (drop_the_bucket, "The specified bucket does not exist", "make that place again"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_middle_is_told_in_one_line_training_goes_on_and_sync_brings_everything_once(
    fault: str, served: Served, stack: Stack, reference: Sandbox
) -> None:
    breaks, cause, remedy = FAULTS[fault]
    with training(served) as process:
        repair = breaks(stack)
        try:
            assert process.wait(PATIENCE_S) == TrackingRefused.exit_code, served.said()
            require_one_line(served.said(), cause, remedy)
            assert "3 complete" in served.said()
            require_one_line(told(served, "sync", STUDY)[1], cause, remedy)
        finally:
            repair()
    code, said = told(served, "sync", STUDY)
    assert code == 0, said
    check(served, reference, {}, served.tracking_uri, served.name)


def test_passwords_are_read_from_the_files_in_which_their_libraries_look_for_them(served: Served, stack: Stack) -> None:
    home = served.root / "home"
    (home / ".mlflow").mkdir(parents=True)
    log_in = f"mlflow_tracking_username = {USER}\nmlflow_tracking_password = {PASSWORD}\n"
    (home / ".mlflow" / "credentials").write_text(f"[mlflow]\n{log_in}")
    (home / ".pgpass").write_text(f"127.0.0.1:*:*:{ACCOUNT}:{DATABASE_PASSWORD}\n")
    (home / ".pgpass").chmod(0o600)
    given = {name: value for name, value in served.environment.items() if not name.endswith(("USERNAME", "PASSWORD"))}
    address = stack.storage(served.name).replace(f":{DATABASE_PASSWORD}@", "@")
    served.environment = {**given, "OPTUNA_STORAGE": address, "HOME": str(home)}
    code, said = told(served, "doctor")
    assert code == 0, said
    assert "0 studies" in said
    assert f"{stack.server.uri} answers" in said


WRONG_AT_THE_START = {
    "no log-in": ({"MLFLOW_TRACKING_USERNAME": "", "MLFLOW_TRACKING_PASSWORD": ""}, TrackingRefused, "log in with"),
    "password": ({"MLFLOW_TRACKING_PASSWORD": "wrong"}, TrackingRefused, "correct MLFLOW_TRACKING_USERNAME"),
    "unknown authority": (
        {"MLFLOW_TRACKING_SERVER_CERT_PATH": "other/authority.pem"},
        TrackingRefused,
        "that of who signed it, with MLFLOW_TRACKING_SERVER_CERT_PATH",
    ),
    "no certificate": (
        {"MLFLOW_TRACKING_SERVER_CERT_PATH": "images/train/a/0000.png"},
        TrackingRefused,
        "MLFLOW_TRACKING_SERVER_CERT_PATH names no file with a certificate",
    ),
    "no file": (
        {"MLFLOW_TRACKING_SERVER_CERT_PATH": "missing.pem"},
        TrackingRefused,
        "MLFLOW_TRACKING_SERVER_CERT_PATH names no file with a certificate",
    ),
    "storage": ({"OPTUNA_STORAGE": ""}, StudyError, "password, database and certificate in OPTUNA_STORAGE"),
}


@pytest.mark.parametrize("fault", WRONG_AT_THE_START)
def test_what_is_wrong_from_the_start_is_told_in_one_line_and_nothing_is_begun(
    fault: str, served: Served, stack: Stack
) -> None:
    variables, kind, remedy = WRONG_AT_THE_START[fault]
    Authority(served.root / "other")
    if fault == "storage":
        variables = {"OPTUNA_STORAGE": stack.storage(served.name, "wrong")}
    served.environment = {**served.environment, **variables}
    code, said = told(served)
    require_one_line(said, remedy)
    assert code == kind.exit_code
    assert "started" not in said


def test_every_command_that_needs_files_tells_in_one_line_that_the_bucket_is_gone(
    make_served: Callable[[Path], Served], tmp_path: Path, stack: Stack
) -> None:
    sandbox = make_served(tmp_path)
    assert sandbox.run("run", "space.yaml", "--set", "budget.epochs=1", *sandbox.options) == 0, sandbox.said()
    stack.store.drop_bucket()
    try:
        for command in (
            ("best", STUDY, "--export"),
            ("evaluate", STUDY, "--split", "val"),
            ("report", STUDY),
            ("diff", f"{STUDY}/0", f"{STUDY}/1"),
            ("reproduce", f"{STUDY}/0"),
            ("train", "--from", f"{STUDY}/best", "--epochs", "1"),
            ("sync", STUDY),
        ):
            code, said = told(sandbox, *command)
            require_one_line(said, f"s3://{BUCKET}", "does not exist", "make that place again")
            assert code == TrackingRefused.exit_code, command
    finally:
        stack.store.make_bucket()


def test_a_bucket_that_is_asked_without_a_server_between_is_told_the_same_way(
    served: Served, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.store.variables.items():
        monkeypatch.setenv(name, value)
    store = MlflowStore(f"sqlite:///{served.root / 'own.db'}", served.workspace)
    with store.client() as client:
        experiment = client.create_experiment("direct", artifact_location=f"s3://{BUCKET}/direct")
    run = store.create_run(experiment, "run", {}, 1)
    store.log_artifact(run, served.root / "space.yaml", "")
    stack.store.drop_bucket()
    try:
        with pytest.raises(TrackingRefused, match=r"does not exist.*make that place again"):
            store.log_artifact(run, served.root / "space.yaml", "")
        with pytest.raises(TrackingRefused, match=r"does not exist.*make that place again"):
            store.download(run, "space.yaml", served.root)
    finally:
        stack.store.make_bucket()
