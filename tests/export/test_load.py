from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sweeper.errors import ExportError
from sweeper.export.export import ExportReport
from sweeper.export.export_input import ExportInput
from sweeper.export.load import load_classifier, load_export


def test_a_loaded_export_gives_the_logits_of_the_trial(report: ExportReport, source: ExportInput) -> None:
    trained = load_classifier(source.config, len(source.classes), source.weights)
    loaded = load_export(report.folder)
    images = torch.randn(3, 3, 16, 16)
    assert torch.equal(loaded.classifier(images), trained(images))
    assert not loaded.classifier.training
    assert loaded.config == report.config


def test_an_export_brings_its_own_architectures(folder: Path) -> None:
    program = (
        "import sys, pathlib; from sweeper.export.load import load_export; "
        "print(len(load_export(pathlib.Path(sys.argv[1])).config.classes))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr


def test_a_folder_without_configuration_is_not_an_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"not an export: config\.json cannot be read"):
        load_export(tmp_path)


def test_a_foreign_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["ResNet"]}')
    with pytest.raises(ExportError, match="not the configuration of an export"):
        load_export(tmp_path)


def test_a_newer_format_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "version": 2}))
    with pytest.raises(ExportError, match=r"newer sweeper.*version"):
        load_export(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["seal"]
    config["head"]["hidden"] = [8]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="does not fit small_resnet with this head"):
        load_export(folder)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100])
def test_damaged_weights_are_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.safetensors cannot be read"):
        load_export(folder)


def test_a_missing_model_file_is_reported(folder: Path) -> None:
    (folder / "model_files" / "small_resnet.py").unlink()
    with pytest.raises(ExportError, match=r"model files of .* cannot be loaded"):
        load_export(folder)


def test_another_version_of_an_architecture_is_refused(folder: Path) -> None:
    path = folder / "model_files" / "small_resnet.py"
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(ExportError, match="'small_resnet' is taken by"):
        load_export(folder)
