"""What MLflow serves: the model of an export, stored, registered, loaded again and, once, really served."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from PIL import Image

from sweeper.addresses import sqlite_address
from sweeper.commands.exporting import register_if_possible
from sweeper.data.decode import Resize, decode
from sweeper.data.picture import prepared
from sweeper.errors import StudyError, TrackingError, TrackingRefused
from sweeper.export.export import ExportReport
from sweeper.export.export_config import read_config, write_config
from sweeper.export.load import load_export
from sweeper.finished.register import register_export, servable
from sweeper.paths import Workspace
from sweeper.scores.expected_accuracy import ExpectedAccuracy
from sweeper.study.place import read_identity
from sweeper.tracking import served_model
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.model_registry import ModelRegistry, example_image, save_served
from sweeper.tracking.study_records import Recorded, StudyRecords
from sweeper.tracking.tags import STUDY_TAG, TRIAL_TAG
from tests.export.test_model_card import picture_file, pixels_in_validation
from tests.field.folders import Here, runs
from tests.pictures import encoded
from tests.tracking.server import free_port

PATIENCE_S = 120.0


def finished_run(workspace: Workspace) -> tuple[mlflow.MlflowClient, str]:
    """Return a client and the id of a run that has ended long ago."""
    uri = f"sqlite:///{workspace.mlflow_database}"
    store = MlflowStore(uri, workspace)
    run = store.create_run(
        StudyRecords(store, Recorded("colours")).begin(), "trial-0007", {STUDY_TAG: "colours", TRIAL_TAG: "7"}, 1000
    )
    store.end(run, "FINISHED", 2000)
    return mlflow.MlflowClient(uri), run


@pytest.fixture
def export(folder: Path) -> Path:
    """A copy of the shared export whose run is to be looked up."""
    config = read_config(folder / "config.json")
    lineage = config.lineage.model_copy(update={"run_id": None})
    write_config(folder / "config.json", config.model_copy(update={"lineage": lineage}))
    return folder


def test_a_model_that_is_not_there_is_not_asked_for_its_alias(
    tmp_path: Path, created: Path, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise MlflowException("Permission denied", error_code=7)  # as a server with a log-in answers

    monkeypatch.setattr(mlflow.MlflowClient, "get_model_version_by_alias", forbidden)
    here = Here.made(tmp_path / "here", created)
    here.run(1)
    known = read_identity(here.folder)
    assert known is not None
    run = next(run for name, run in runs(here.tracking).items() if name == "trial-0000")
    store, content = MlflowStore(here.tracking, here.workspace), servable(export, read_config(export / "config.json"))
    made = ModelRegistry(store).register("s", run.info.run_id, content, known.id)
    assert (made.version, made.new) == ("1", True)
    assert not ModelRegistry(store).register("s", run.info.run_id, content, known.id).new


def test_a_copy_of_a_study_s_folder_does_not_move_the_alias(tmp_path: Path, created: Path, export: Path) -> None:
    (tmp_path / "server").mkdir()
    server = sqlite_address(Path(shutil.copy(created, tmp_path / "server")))
    here = Here.made(tmp_path / "here", created)
    here.run(1, tracking=server)
    known = read_identity(here.folder)
    assert known is not None
    config = read_config(export / "config.json")
    lineage = config.lineage.model_copy(update={"study": "s", "study_id": known.id, "trial": 0, "model_name": None})
    write_config(export / "config.json", config.model_copy(update={"lineage": lineage}))
    copy = here.copied(tmp_path / "copy")
    assert register_export(here.workspace, export, server).version == "1"
    with pytest.raises(TrackingRefused, match=r"recorded from another folder .* this folder is a copy of that one"):
        register_export(copy.workspace, export, server)
    copy.adopt()
    copy.run(2, tracking=server)
    assert not register_export(copy.workspace, export, server).new
    with pytest.raises(TrackingRefused, match=r"recorded from another folder .* or that one has taken the study over"):
        register_export(here.workspace, export, server)


def test_a_version_says_what_to_expect_on_new_images(workspace: Workspace, export: Path) -> None:
    config = read_config(export / "config.json")
    expected = ExpectedAccuracy(accuracy=0.912, low=0.88, high=0.94, measured=0.93, trials=24, images=1000)
    assert "new images" not in servable(export, config).description
    chosen = servable(export, config.model_copy(update={"expected": expected})).description
    assert "chose it among 24 trials" in chosen
    assert "**91.20%** (95 % interval 88.00% to 94.00%)" in chosen
    otherwise = expected.model_copy(update={"chosen_by": "val/f1"})
    assert "new images" not in servable(export, config.model_copy(update={"expected": otherwise})).description


def test_a_winner_is_registered_with_alias_signature_and_example(
    workspace: Workspace, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, run = finished_run(workspace)
    version = register_export(workspace, export, None)
    assert (version.name, version.version, version.uri) == ("colours", "1", "models:/colours@best")
    stored = client.get_model_version_by_alias("colours", "best")
    assert stored.run_id == run
    assert stored.tags["sweeper.trial"] == "7"
    assert "labelled correctly" in (stored.description or "")
    assert client.get_run(run).info.end_time == 2000, "a run that has ended keeps its end"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.mlflow_database}")
    info = mlflow.models.get_model_info(version.uri)
    assert [(column.name, column.type.name) for column in info.signature.inputs] == [("image", "binary")]
    assert info.signature.outputs.input_names() == ["class", "probability", "classes", "probabilities"]
    assert info.saved_input_example_info is not None


def test_the_same_export_again_makes_no_second_version_and_another_one_does(workspace: Workspace, export: Path) -> None:
    client, _ = finished_run(workspace)
    first, again = (register_export(workspace, export, None) for _ in range(2))
    assert (first.new, again.new, again.version) == (True, False, "1")
    config = read_config(export / "config.json")
    write_config(export / "config.json", config.model_copy(update={"classes": tuple("abcde")}))
    assert register_export(workspace, export, None).version == "2"
    assert client.get_model_version_by_alias("colours", "best").version == 2  # type: ignore[comparison-overlap]  # MLflow says it is text


def test_commands_that_register_the_same_export_at_once_make_one_version(workspace: Workspace, export: Path) -> None:
    finished_run(workspace)
    with ThreadPoolExecutor(3) as commands:
        made = list(commands.map(lambda _: register_export(workspace, export, None), range(3)))
    assert sorted(version.new for version in made) == [False, False, True]
    assert {version.version for version in made} == {"1"}


def test_an_export_that_has_a_version_gets_the_alias_back_and_no_other_version(
    workspace: Workspace, export: Path
) -> None:
    client, _ = finished_run(workspace)
    register_export(workspace, export, None)
    config = read_config(export / "config.json")
    write_config(export / "config.json", config.model_copy(update={"classes": tuple("abcde")}))
    register_export(workspace, export, None)
    client.set_registered_model_alias("colours", "best", "1")
    again = register_export(workspace, export, None)
    assert (again.version, again.new) == ("2", False)
    assert str(client.get_model_version_by_alias("colours", "best").version) == "2"
    assert len(client.search_model_versions("name = 'colours'")) == 2


def test_an_export_whose_run_was_recorded_anew_is_a_model_of_the_new_run(workspace: Workspace, export: Path) -> None:
    client, run = finished_run(workspace)
    config = read_config(export / "config.json")
    lineage = config.lineage.model_copy(update={"run_id": "0" * 32})
    write_config(export / "config.json", config.model_copy(update={"lineage": lineage}))
    register_export(workspace, export, None)
    assert client.get_model_version_by_alias("colours", "best").run_id == run


def test_an_export_whose_trial_has_no_run_is_not_registered(workspace: Workspace, export: Path) -> None:
    MlflowStore(f"sqlite:///{workspace.mlflow_database}", workspace)
    with pytest.raises(StudyError, match="sweeper doctor colours --fix"):
        register_export(workspace, export, None)


def test_an_export_stands_and_says_how_to_register_it_later_when_the_server_is_away(
    workspace: Workspace, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    register_if_possible(workspace, export, away)
    told = capsys.readouterr().err
    assert "not registered: MLflow at http://127.0.0.1" in told
    assert f"Later: sweeper register {export}" in told


def test_a_server_that_is_away_is_reported_as_that(workspace: Workspace, export: Path) -> None:
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1"):
        register_export(workspace, export, f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize(
    "name",
    ["plain.png", "large.jpg", "turned.jpg", "grey.png", "palette.png", "cmyk.jpg", "transparent.png", "deep.png"],
)
def test_served_images_are_prepared_exactly_as_in_training(tmp_path: Path, resize: Resize, name: str) -> None:
    file = picture_file(tmp_path / name)
    config = {"stored_size": 16, "image_size": 16, "resize": resize, "mean": [0.0] * 3, "std": [1.0] * 3}
    pixels = np.rint(prepared(file.read_bytes(), config) * 255).astype(np.uint8)
    np.testing.assert_array_equal(pixels.transpose(1, 2, 0), decode(file.read_bytes(), 16, resize))


@pytest.fixture(scope="module")
def served(report: ExportReport, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shared export as MLflow loads it."""
    folder = tmp_path_factory.mktemp("served") / "model"
    save_served(servable(report.folder, report.config), folder)
    return mlflow.pyfunc.load_model(str(folder))


def test_a_served_model_answers_with_the_probabilities_of_predict(
    served: Any, report: ExportReport, tmp_path: Path
) -> None:
    files = [picture_file(tmp_path / name) for name in ("plain.png", "large.jpg", "grey.png")]
    request = pd.DataFrame({"image": [file.read_bytes() for file in files]})
    answer = served.predict(request, params={"top": 3})
    loaded = load_export(report.folder)
    with torch.inference_mode():
        logits = loaded.classifier(torch.cat([pixels_in_validation(file, loaded.config) for file in files]))
    values, numbers = (logits / loaded.config.temperature).softmax(1).topk(3)
    assert [list(row) for row in answer["classes"]] == [[loaded.config.classes[n] for n in row] for row in numbers]
    np.testing.assert_allclose(np.array(answer["probabilities"].tolist()), values, rtol=1e-3)
    assert list(answer["probability"]) == [row[0] for row in answer["probabilities"]]
    assert [len(row) for row in served.predict(request)["classes"]] == [5, 5, 5]


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"nothing", "not an image"), (encoded(Image.new("1", (10_001, 10_000))), "decompression bomb|pixels are more")],
)
def test_a_bad_image_is_reported_by_its_place_in_the_request(served: Any, data: bytes, why: str) -> None:
    with pytest.raises(MlflowException, match=f"image 1 of the request cannot be read: .*({why})") as refused:
        served.predict(pd.DataFrame({"image": [example_image(16), data]}))
    assert refused.value.get_http_status_code() == 400


def test_a_served_model_needs_neither_sweeper_nor_torch() -> None:
    imported = re.findall(r"^(?:import|from) (\w+)", Path(served_model.__file__).read_text(), re.MULTILINE)
    assert not {"sweeper", "torch", "timm"} & set(imported)


@contextlib.contextmanager
def serving(workspace: Workspace, model: str) -> Iterator[str]:
    """Run `mlflow models serve` as a user does and give the address that answers."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "-p", str(port)]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow starts uvicorn by its name
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{workspace.mlflow_database}", "PATH": programs}
    with (workspace.root / "serve.txt").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--env-manager", "local", "--workers", "1"],
            cwd=workspace.root,
            env={**os.environ, **environment, "PYTHONPATH": ""},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None, (workspace.root / "serve.txt").read_text()
            assert time.monotonic() < deadline, (workspace.root / "serve.txt").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except OSError:
        return False


def post(url: str, content: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return dict(json.loads(answer.read()))


@pytest.mark.slow
def test_mlflow_serves_the_registered_model_to_whoever_posts_an_image(
    workspace: Workspace, export: Path, tmp_path: Path
) -> None:
    finished_run(workspace)
    version = register_export(workspace, export, None)
    file = picture_file(tmp_path / "large.jpg")
    image = base64.b64encode(file.read_bytes()).decode()
    with serving(workspace, version.uri) as url:
        answer = post(url, {"dataframe_split": {"columns": ["image"], "data": [[image]]}, "params": {"top": 2}})
        again = post(url, {"dataframe_records": [{"image": image}]})
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(url, {"dataframe_records": [{"image": base64.b64encode(b"nothing").decode()}]})
        told = refused.value.read()  # before the server ends
    loaded = load_export(export)
    with torch.inference_mode():
        probabilities = (
            loaded.classifier(pixels_in_validation(file, loaded.config)) / loaded.config.temperature
        ).softmax(1)
    (found,) = answer["predictions"]
    assert found["class"] == loaded.config.classes[int(probabilities.argmax())]
    assert found["probability"] == pytest.approx(float(probabilities.max()), rel=1e-3)
    assert (len(found["classes"]), len(again["predictions"][0]["classes"])) == (2, 5)
    assert refused.value.code == 400
    assert b"image 0 of the request" in told
