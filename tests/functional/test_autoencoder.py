"""An autoencoder, then a classifier on its frozen encoder: the two search spaces by the real program, on few images."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
import yaml

from sweeper import open_study
from sweeper.confirm.finishing import is_exported
from sweeper.errors import StudyError
from sweeper.modeling.formats import read_onnx
from sweeper.paths import Workspace
from sweeper.search.study_store import StudyStore
from sweeper.standings.winner import winner_of
from tests.export.test_self_description import of_onnx, of_weights
from tests.functional.answer import Ask, ask
from tests.functional.program import REPOSITORY, sweeper
from tests.pictures import write_class_folders

pytestmark = pytest.mark.sweeps

__all__ = ["ask"]  # a fixture

SPACES = REPOSITORY / "search_spaces"
SMALL = ["--set", "search.image_size=12", "--set", "budget.trials=1", "--set", "search.batch_size=8"]
TEST = ("--set", "device=cpu", *SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, created: Path) -> Path:
    """A folder in which both studies have been run."""
    pytest.importorskip("tensorboardX")
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(created, folder / created.name)
    counts = {f"{split}/{name}": count for split, count in (("train", 26), ("test", 3)) for name in ("cat", "dog")}
    write_class_folders(folder / "data" / "cifar10", counts)
    shutil.copytree(REPOSITORY / "models", folder / "models")
    options = (*TEST, "--set", "budget.epochs=2", "--set", "search.backbone=cifar10_autoencoder_wide")
    every = ("--set", "task.every=1", "--set", "tracking.tensorboard=true")
    done = sweeper("run", str(SPACES / "cifar10_autoencoder.yaml"), *options, *every, folder=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    done = sweeper("run", str(SPACES / "cifar10_encoder_classifier.yaml"), *options, folder=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


def runs(folder: Path, study: str) -> dict[str, Any]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def test_the_run_of_an_autoencoder_has_its_measures_and_pictures(folder: Path) -> None:
    run = runs(folder, "cifar10_autoencoder")["trial-0000"]
    assert {"val/psnr", "val/ssim", "train/loss", "best/val/psnr"} <= run.data.metrics.keys()
    pictures = folder / "mlruns" / "cifar10_autoencoder" / run.info.run_id / "artifacts" / "reconstructions"
    names = {"first.png", "best.png", "last.png", "epoch-0001.png", "epoch-0002.png"}
    assert {path.name for path in pictures.iterdir()} == names


def test_the_curves_are_in_event_files_too(folder: Path) -> None:
    from sweeper.tracking.tensorboard import read_events

    steps = [
        event.step
        for event in read_events(folder / "tensorboard" / "cifar10_autoencoder" / "trial-0000")
        for value in event.summary.value
        if value.tag == "val/psnr"
    ]
    assert steps == [1, 2]


def test_the_classifier_stands_on_the_autoencoder_that_won_and_says_so(folder: Path) -> None:
    source = runs(folder, "cifar10_autoencoder")["trial-0000"].info.run_id
    found = runs(folder, "cifar10_encoder_classifier")
    for run in found.values():
        assert f"study:cifar10_autoencoder/best = trial 0 (MLflow run {source})" in run.data.tags["sweeper.pretrained"]
    trial = found["trial-0000"]
    assert trial.data.params["pretrained"] == "study:cifar10_autoencoder/best"
    card = json.loads((folder / ".sweeper/studies/cifar10_encoder_classifier/sweep/card.json").read_text())
    assert card["pretrained"]["study:cifar10_autoencoder/best"]["trial"] == 0
    assert list((folder / ".sweeper" / "features").glob("*.npy"))  # the frozen encoder's output, computed once


def test_both_are_evaluated_and_an_autoencoder_is_exported_and_says_what_it_is_not(
    folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    scored = ask("evaluate", "cifar10_encoder_classifier", "--split", "test", "--json")
    assert json.loads(scored.out)["images"] == 6
    scored = ask("evaluate", "cifar10_autoencoder", "--split", "test", "--json")
    assert json.loads(scored.out)["metrics"].keys() == {"loss", "psnr", "ssim"}
    assert "looks at a test split so far: 1" in scored.err
    done = ask("best", "cifar10_autoencoder", "--export")
    assert done.code == 0, done.err
    export = folder / "exports" / "cifar10_autoencoder"
    assert {"encoder.onnx", "autoencoder.onnx", "model.safetensors"} <= {path.name for path in export.iterdir()}
    store = StudyStore.load(f"sqlite:///{folder / 'optuna.db'}", "cifar10_autoencoder")
    assert is_exported(Workspace(folder), store, winner_of(store).number)
    for name, read in {"encoder.onnx": of_onnx, "autoencoder.onnx": of_onnx, "model.safetensors": of_weights}.items():
        said = read(export / name)
        assert (said["study"], said["interpolation"]) == ("cifar10_autoencoder", "bicubic")
        assert json.loads(said["mean"]) == json.loads((export / "config.json").read_text())["mean"]
        assert "classes" not in said
    verified = json.loads((export / "verification.json").read_text())
    assert all(check["difference"] <= check["allowed"] for check in verified)
    refused = ask("predict", str(export), "data")
    assert refused.code == 6
    assert "names no classes" in refused.err
    refused = ask("data", "label-errors", "cifar10_autoencoder")
    assert refused.code == 4
    assert "the study cifar10_autoencoder reconstructs images and names no classes" in refused.err


def test_an_export_that_gives_no_numbers_is_refused(folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_broken(path: Path, output: str) -> Callable[[torch.Tensor], torch.Tensor]:
        read = read_onnx(path, output)
        return lambda images: torch.full_like(read(images), torch.nan)

    monkeypatch.chdir(folder)
    monkeypatch.setattr("sweeper.export.autoencoder_export.read_onnx", read_broken)
    refused = ask("best", "cifar10_autoencoder", "--export", "--to", "broken")
    assert refused.code == 6
    assert "encoder.onnx differs by nan" in refused.err
    assert "autoencoder.onnx differs by nan" in refused.err
    assert not (folder / "broken").exists()


def test_a_program_gets_the_network_from_any_folder_and_is_told_how_it_is_exported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    best = open_study("cifar10_autoencoder").best
    monkeypatch.chdir(tmp_path)
    assert not best.model().training
    told = "is no classifier, and Export labels images; .* `sweeper best cifar10_autoencoder --trial 0 --export`"
    with pytest.raises(StudyError, match=told):
        best.export(tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_what_only_classifiers_have_is_refused_for_an_autoencoder_before_the_work(
    folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    refused = ask("evaluate", "cifar10_autoencoder", "--data", "data")
    assert refused.code == 3
    assert "cifar10_autoencoder/0 is of reconstruction; leave it out" in refused.err
    refused = ask("best", "cifar10_autoencoder", "--export", "--soup")
    assert refused.code == 4
    assert "--soup and --ensemble are for classifiers; leave them out" in refused.err


def test_the_confirmed_autoencoder_is_measured_on_the_test_split(
    folder: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = ask("confirm", "cifar10_autoencoder", "--top", "1", "--seeds", "2")
    assert done.code == 0, done.err
    assert re.search(r"test split, trial 0, 6 images, looked at .*: loss [\d.]+, psnr [\d.]+, ssim ", done.out)


def test_both_spaces_split_the_50000_training_images_of_cifar10_as_the_project_did() -> None:
    first, second = (
        yaml.safe_load((SPACES / f"cifar10_{name}.yaml").read_text())["dataset"]
        for name in ("autoencoder", "encoder_classifier")
    )
    assert first == second
    assert 50_000 * first["val_fraction"] == 2_000
