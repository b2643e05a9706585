"""Nothing that is read runs code, nothing writes outside its folder, no password is kept or shown."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from sweeper.config.dataset import DatasetConfig
from sweeper.credentials import HidingFormatter
from sweeper.data.prepare import prepare_images
from sweeper.errors import ExportError, TrackingError, TrialError
from sweeper.export.load import load_export
from sweeper.paths import Workspace
from sweeper.study.card import _tell_of_another, read_card, tracking_uri_of, write_card
from sweeper.tracking.delivery import StudyCard
from sweeper.training.checkpoint import load_checkpoint
from tests.functional.answer import Ask, ask
from tests.pictures import write_class_folders

__all__ = ["ask"]  # a fixture

SECRET = "s3cr/et"  # noqa: S105 - SQLAlchemy and MLflow take a slash in a password
CPU = torch.device("cpu")


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_a_checkpoint_with_a_live_payload_is_refused(tmp_path: Path) -> None:
    folder, marker = Workspace(tmp_path).study("s").trial(0), tmp_path / "pwned"
    folder.path.mkdir(parents=True)
    torch.save({"model": {}, "progress": Payload(marker)}, folder.checkpoint)
    with pytest.raises(TrialError, match=r"checkpoint\.pt is not a checkpoint .*remove it"):
        load_checkpoint(folder)
    assert not marker.exists()
    torch.load(folder.checkpoint, weights_only=False)
    assert marker.exists()  # the payload is live


CONFIG = {
    "architecture": "resnet18",
    "head": {},
    "classes": ["a", "b"],
    "mean": [0, 0, 0],
    "std": [1, 1, 1],
    "image_size": 16,
    "stored_size": 16,
    "resize": "crop",
    "input": {"name": "images", "layout": "NCHW", "shape": ["batch", 3, 16, 16]},
    "output": {"name": "logits", "layout": "NC", "shape": ["batch", 2]},
    "metrics": {"val/accuracy": 0.5},
    "lineage": {
        "study": "s",
        "trial": 0,
        "run_id": None,
        "best_epoch": 1,
        "dataset": {},
        "training": {},
        "hyperparameters": {"backbone": "resnet18"},
    },
    "model_files": [],
    "libraries": {},
    "files": [],
}


def test_an_export_whose_weights_are_a_live_payload_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "pwned"
    (tmp_path / "e").mkdir()
    (tmp_path / "e/config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "e/model.safetensors").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(ExportError, match=r"model\.safetensors cannot be read"):
        load_export(tmp_path / "e")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../net.py", "/{}/net.py", "link.py"])
def test_an_export_runs_no_code_from_outside_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    (tmp_path / "e").mkdir()
    (tmp_path / "e/link.py").symlink_to(tmp_path / "net.py")
    files = [name.format(str(tmp_path).lstrip("/"))]
    (tmp_path / "e/config.json").write_text(json.dumps(CONFIG | {"model_files": files}))
    with pytest.raises(ExportError, match="outside the export"):
        load_export(tmp_path / "e")
    assert not (tmp_path / "pwned").exists()


def test_a_planted_cache_entry_runs_nothing_and_leads_nowhere(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "d", {"a": 2, "b": 2})
    dataset, workspace, marker = DatasetConfig(path=str(tmp_path / "d")), Workspace(tmp_path), tmp_path / "pwned"
    digest = prepare_images(dataset, 12, workspace).digest
    (images,), (entry,) = workspace.cache.glob("*.npy"), workspace.cache.glob("*.json")
    with images.open("wb") as file:
        np.save(file, np.array([Payload(marker)], dtype=object), allow_pickle=True)
    assert prepare_images(dataset, 12, workspace).digest == digest
    entry.write_text(json.dumps({"digest": "../../outside", "bad": []}))
    assert prepare_images(dataset, 12, workspace).digest == digest
    assert not marker.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"d", ".sweeper"}


def test_model_files_that_are_not_named_are_not_run(ask: Ask, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "models", tmp_path / "exports/s/model_files"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "net.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'pwned')!r})\n")
    (tmp_path / "space.yaml").write_text("study: s\ndataset: {path: none}\nsearch: {backbone: resnet18}\n")
    assert ask("schema").code == 0
    assert ask("status").code == 4
    assert ask("best", "--export").code == 4
    assert ask("run", "space.yaml").code == 3
    assert not (tmp_path / "pwned").exists()
    with (tmp_path / "space.yaml").open("a") as file:
        file.write("model_files: [net.py]\n")
    assert ask("run", "space.yaml").code == 3
    assert (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/db",
        f"postgresql://me:{SECRET}@127.0.0.1:port/db",
        f"mysql://me:{SECRET}@h@st/db?password={SECRET}",
        f"sqlite://me:{SECRET}@/x.db",
        f"nonsense://me:{SECRET}@host",
    ],
)
def test_a_storage_that_cannot_be_used_is_reported_without_its_password(ask: Ask, address: str) -> None:
    for command in ("status", "best", "sync"):
        answer = ask(command, "--storage", address)
        assert answer.code == 4
        assert "s3cr" not in answer.out + answer.err
        assert "--storage" in answer.err


def test_log_records_and_their_tracebacks_hide_credentials() -> None:
    try:
        raise OSError(f"http://me:{SECRET}@host is gone")
    except OSError as error:
        record = logging.LogRecord("x", 40, "", 1, "at %s", (f"http://me:{SECRET}@host",), (OSError, error, None))
    text = HidingFormatter("%(message)s").format(record)
    assert "s3cr" not in text
    assert text.count("http://***@host") == 2


def test_the_study_card_keeps_no_credentials_and_asks_for_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace, uri = Workspace(tmp_path), f"http://me:{SECRET}@host:5000"
    folder = workspace.study("s")
    write_card(folder, StudyCard(study="s", tracking_uri=uri, start_ms=0, params={}, tags={}, dataset={}))
    assert "s3cr" not in folder.card.read_text()
    stored = read_card(folder)
    assert stored is not None
    assert stored.tracking_uri == "http://***@host:5000"
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI"):
        tracking_uri_of(workspace, "s", None)
    assert tracking_uri_of(workspace, "s", uri) == uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri_of(workspace, "s", None) == uri


def test_who_names_another_server_in_the_environment_is_told_once_which_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workspace, uri = Workspace(tmp_path), "http://host:5000"
    card = StudyCard(study="told", tracking_uri=uri, start_ms=0, params={}, tags={}, dataset={})
    write_card(workspace.study("told"), card)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{SECRET}@other")
    _tell_of_another.cache_clear()
    for _ in range(2):
        assert tracking_uri_of(workspace, "told", None) == uri
    assert caplog.text.count("is recorded at http://host:5000: that is used, not MLFLOW_TRACKING_URI") == 1
    assert SECRET not in caplog.text


SPACE = """
study: s
dataset: {path: d.csv}
budget: {trials: 1, epochs: 1}
device: cpu
model_files: [MODEL]
search: {backbone: small_resnet, image_size: 12, batch_size: 8}
"""


@pytest.mark.slow
def test_a_whole_sweep_keeps_its_password_to_itself_and_odd_labels_in_their_folder(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(__file__).parents[2] / "models/small_resnet.py"
    write_class_folders(tmp_path, {"pics": 12})
    labels = ("../../outside", "/etc $x_$ größe")
    rows = "\n".join(f"pics/{number:04d}.png;{labels[number % 2]}" for number in range(12))
    (tmp_path / "d.csv").write_text(f"path;label\n{rows}\n", encoding="utf-8-sig")
    (tmp_path / "space.yaml").write_text(SPACE.replace("MODEL", str(model)))
    before = {path.name for path in tmp_path.parent.iterdir()}
    said = [ask("run", "space.yaml", "--tracking-uri", f"http://me:{SECRET}@127.0.0.1:1")]
    assert said[-1].code == 0, said
    assert "sweeper sync" in said[-1].out
    said.append(ask("sync"))
    assert said[-1].code == 5
    assert "--tracking-uri" in said[-1].err
    said.append(ask("sync", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"))
    assert said[-1].code == 0, said
    assert not list(tmp_path.glob(".sweeper/studies/s/trial-*"))  # all of it has been delivered
    said.append(ask("best", "--export", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"))
    assert said[-1].code == 0, said
    assert (tmp_path / "exports/s/model.safetensors").exists()
    said.append(ask("status"))
    assert not [answer for answer in said if "s3cr" in answer.out + answer.err]
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cr" in path.read_bytes()]
    assert holders == []
    assert {path.name for path in tmp_path.parent.iterdir()} == before
    kept = {"pics", "d.csv", "space.yaml", ".sweeper", "optuna.db", "mlflow.db", "mlruns", "exports"}
    assert {path.name for path in tmp_path.iterdir()} == kept
