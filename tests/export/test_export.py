from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from sweeper.data.batches import DeviceImages
from sweeper.errors import ExportError
from sweeper.export import export
from sweeper.export.export import ExportReport, export_model
from sweeper.export.export_input import ExportInput
from sweeper.export.load import load_export
from sweeper.files import write_whole
from sweeper.modeling.classifier import Classifier
from sweeper.modeling.formats import read_onnx, read_program
from sweeper.paths import ExportFolder
from tests.export.conftest import SMALL, Exported, make_trial


@pytest.fixture
def quick(report: ExportReport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let exports take their program and ONNX from the shared export instead of tracing again."""
    made = ExportFolder(report.folder)

    def copy(model: Classifier, image_size: int, files: ExportFolder) -> None:
        files.program.write_bytes(made.program.read_bytes())
        files.onnx.write_bytes(made.onnx.read_bytes())

    monkeypatch.setattr(export, "_write_formats", copy)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_export_has_exactly_the_files_it_lists(report: ExportReport) -> None:
    assert ExportFolder(report.folder).files() == (
        "README.md",
        "config.json",
        "label.py",
        "model.onnx",
        "model.pt2",
        "model.safetensors",
        "model_files/small_resnet.py",
        "picture/__init__.py",
        "picture/depth.py",
        "picture/formats.py",
        "picture/rgb.py",
        "verification.json",
    )
    assert report.config.files == ExportFolder(report.folder).files()


def test_nothing_but_the_export_is_left_behind(report: ExportReport) -> None:
    assert list(report.folder.parent.iterdir()) == [report.folder]


def test_verification_finds_the_logged_accuracy_in_every_format(report: ExportReport, source: ExportInput) -> None:
    found = json.loads((report.folder / "verification.json").read_text())
    logged = source.metrics["val/accuracy"]
    assert 0.5 < logged < 0.95
    assert found["images"] == 60
    assert found["weights"] == {
        "file": "model.safetensors",
        "accuracy": logged,
        "logged": logged,
        "off": 0,
        "allowed": 0,
        "why": "validated in float32 on cpu then and now",
    }
    assert [(check["file"], check["accuracy"], check["changed"]) for check in found["formats"]] == [
        ("model.pt2", logged, 0),
        ("model.onnx", logged, 0),
    ]
    assert all(check["difference"] < 1e-5 for check in found["formats"])


def test_config_says_how_to_use_the_model(report: ExportReport, source: ExportInput) -> None:
    config = json.loads((report.folder / "config.json").read_text())
    assert config["architecture"] == "small_resnet"
    assert config["head"]["hidden"] == [24]
    assert config["classes"] == list(source.classes)
    assert (config["mean"], config["std"]) == ([0.5] * 3, [0.5] * 3)
    assert (config["image_size"], config["stored_size"], config["resize"]) == (16, 16, "crop")
    assert config["input"] == {"name": "images", "layout": "NCHW", "shape": ["batch", 3, 16, 16], "dtype": "float32"}
    assert config["output"] == {"name": "logits", "layout": "NC", "shape": ["batch", 5], "dtype": "float32"}
    assert config["metrics"] == source.metrics
    assert torch.__version__.startswith(config["libraries"]["torch"])
    lineage = config["lineage"]
    assert (lineage["study"], lineage["trial"], lineage["run_id"], lineage["best_epoch"]) == ("colours", 7, "5f1e", 3)
    assert lineage["dataset"]["digest"] == "0" * 32


@pytest.mark.parametrize("images", [1, 2, 7])
def test_every_batch_size_works_in_onnx_and_program(report: ExportReport, images: int) -> None:
    files, classifier = ExportFolder(report.folder), load_export(report.folder).classifier
    batch = torch.randn(images, 3, 16, 16, generator=torch.Generator().manual_seed(images))
    with torch.inference_mode():
        expected = classifier(batch)
        for predict in (read_onnx(files.onnx), read_program(files.program)):
            torch.testing.assert_close(predict(batch), expected, rtol=1e-4, atol=1e-5)


def test_onnx_names_its_input_its_output_and_the_batch(report: ExportReport) -> None:
    session = onnxruntime.InferenceSession(report.folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [(port.name, port.shape) for port in session.get_inputs()] == [("images", ["batch", 3, 16, 16])]
    assert [(port.name, port.shape) for port in session.get_outputs()] == [("logits", ["batch", 5])]
    outputs = session.run(None, {"images": np.zeros((1, 3, 16, 16), np.float32)})
    assert outputs[0].dtype == np.float32


def test_export_prints_nothing(exported: Exported) -> None:
    assert exported.printed == ""


@pytest.mark.usefixtures("quick")
def test_a_failed_export_leaves_the_earlier_one_as_it_was(source: ExportInput, val: DeviceImages, folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(ExportError, match="was logged"):
        export_model(replace(source, metrics={"val/accuracy": 0.5}), val, folder)
    assert contents(folder) == before
    assert list(folder.parent.iterdir()) == [folder]


def test_a_network_that_cannot_be_traced_is_reported(
    source: ExportInput, val: DeviceImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("data-dependent control flow")

    monkeypatch.setattr(export, "trace", fail)
    with pytest.raises(ExportError, match=r"cannot be written as torch.export program.*data-dependent control flow"):
        export_model(source, val, tmp_path / "colours")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused_and_left_alone(
    source: ExportInput, val: DeviceImages, folder: Path
) -> None:
    (folder / "notes.txt").write_text("mine")
    before = contents(folder)
    with pytest.raises(ExportError, match=r"holds what no export wrote.*notes\.txt"):
        export_model(source, val, folder)
    assert contents(folder) == before


def test_a_trial_without_logged_accuracy_is_refused(source: ExportInput, val: DeviceImages, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no logged val/accuracy"):
        export_model(replace(source, metrics={}), val, tmp_path / "colours")


@pytest.mark.usefixtures("quick")
def test_a_later_export_replaces_an_earlier_one_and_keeps_model_files_of_the_same_name(
    source: ExportInput, val: DeviceImages, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "small_resnet.py"
    write_whole(other, "# defines nothing\n")
    later = replace(source, trial=8, model_files=(*source.model_files, other))
    config = export_model(later, val, folder).config
    assert config.lineage.trial == 8
    assert config.model_files == ("model_files/small_resnet.py", "model_files/1_small_resnet.py")
    assert (folder / config.model_files[1]).read_text() == "# defines nothing\n"
    assert config.files == ExportFolder(folder).files()


def test_a_mirrored_model_answers_so_in_every_format_and_its_card_says_so(tmp_path: Path) -> None:
    trial, images = make_trial(tmp_path, SMALL.model_copy(update={"test_time_augmentation": "flip"}))
    made = export_model(trial, images, tmp_path / "export")
    files, picture = ExportFolder(made.folder), torch.randn(2, 3, 16, 16)
    expected = load_export(made.folder).classifier(picture).detach()
    for read in (read_onnx(files.onnx), read_program(files.program)):
        torch.testing.assert_close(read(picture), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(read(picture.flip(3)), expected, rtol=1e-4, atol=1e-5)
    assert "the image and for its mirror image" in (made.folder / "README.md").read_text(encoding="utf-8")
