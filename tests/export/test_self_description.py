"""Each file of an export says what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sweeper.export.export import ExportReport
from sweeper.export.load import load_export
from sweeper.export.self_description import write_weights


def of_weights(file: Path) -> dict[str, str]:
    with safe_open(file, framework="np") as tensors:
        return dict(tensors.metadata())


def of_onnx(file: Path) -> dict[str, str]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return dict(session.get_modelmeta().custom_metadata_map)


@pytest.mark.parametrize(("name", "read"), [("model.safetensors", of_weights), ("model.onnx", of_onnx)])
def test_a_file_names_classes_preparation_and_version(report: ExportReport, name: str, read: Any) -> None:
    config, said = report.config, read(report.folder / name)
    assert json.loads(said["classes"]) == list(config.classes)
    assert (json.loads(said["mean"]), json.loads(said["std"])) == ([0.5] * 3, [0.5] * 3)
    assert (said["image_size"], said["interpolation"], said["resize"]) == ("16", "bicubic", "crop")
    assert said["sweeper"] == config.libraries["sweeper"]


def test_the_same_weights_and_facts_are_the_same_file(tmp_path: Path) -> None:
    save_file({"b": torch.arange(3.0), "a": torch.ones(2, 2)}, tmp_path / "weights")
    facts = {f"fact {number}": f"ä\n\t\u2028 {number}" for number in range(12)}
    made = []
    for number in range(6):
        write_weights(tmp_path / "weights", tmp_path / str(number), facts)
        made.append((tmp_path / str(number)).read_bytes())
    assert len(set(made)) == 1
    assert of_weights(tmp_path / "0") == {"format": "pt", **facts}
    assert torch.equal(load_file(tmp_path / "0")["a"], torch.ones(2, 2))


def test_the_card_says_how_timm_loads_the_weights(report: ExportReport, monkeypatch: pytest.MonkeyPatch) -> None:
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(import timm.*?)```", card, re.DOTALL)
    classifier: Any = load_export(report.folder).classifier  # which has registered the architecture
    monkeypatch.chdir(report.folder)
    found: dict[str, Any] = {}
    exec(program, found)  # noqa: S102
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32))
    with torch.inference_mode():
        features = found["backbone"].eval()(images)
        assert torch.equal(classifier.head(features), classifier(images))
