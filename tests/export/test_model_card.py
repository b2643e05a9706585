from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sweeper.data.augment import Normalize, evaluation_images
from sweeper.data.decode import Resize, decode
from sweeper.export.export import ExportReport
from sweeper.export.export_config import ExportConfig, write_config
from sweeper.export.label_program import LABEL_PROGRAM
from sweeper.export.load import load_export
from sweeper.export.model_card import escaped, model_card


def program_in(readme: Path) -> str:
    found = re.search(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def picture(width: int, height: int) -> Image.Image:
    """A smooth picture with some noise."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], axis=2) * 100 + 128
    noise = np.random.default_rng(0).normal(0, 8, waves.shape)
    return Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8))


def picture_file(path: Path) -> Path:
    """Write a picture of the kind that the suffix and stem name."""
    image = picture(90, 70)
    match path.stem:
        case "large":
            image = picture(700, 500)
        case "grey":
            image = image.convert("L")
        case "palette":
            image = image.convert("P")
        case "deep":  # 16-bit grey
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        case "cmyk":
            image = image.convert("CMYK")
        case "transparent":
            image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[0x0112] = 6 if path.stem == "turned" else 1  # orientation: 6 is a quarter turn
    image.save(path, exif=exif)
    return path


def pixels_in_validation(file: Path, config: ExportConfig) -> torch.Tensor:
    decoded = torch.from_numpy(decode(file.read_bytes(), config.stored_size, config.resize))[None]
    normalize = Normalize(config.mean, config.std, config.image_size, torch.device("cpu"))
    return evaluation_images(decoded, config.image_size, normalize)


def run_program(config: ExportConfig, export: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the program of an export with another configuration, and return its variables."""
    folder = file.parent / "export"
    shutil.copytree(export, folder)
    write_config(folder / "config.json", config)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "picture", raising=False)
    monkeypatch.setattr(sys, "argv", ["label.py", str(file)])
    return runpy.run_path(str(folder / "label.py"))


def test_the_program_in_the_readme_labels_an_image_without_sweeper(folder: Path, tmp_path: Path) -> None:
    file = picture_file(tmp_path / "image.png")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    blocked = (
        "import sys; sys.modules['sweeper'] = sys.modules['torch'] = None; import runpy; runpy.run_path('label.py')"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked, str(file)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    loaded = load_export(folder)
    with torch.inference_mode():
        logits = loaded.classifier(pixels_in_validation(file, loaded.config))
    assert done.returncode == 0, done.stderr
    path, name, probability = done.stdout.strip().split("\t")
    assert path == str(file)
    assert name == loaded.config.classes[int(logits.argmax())]
    assert float(probability) == pytest.approx(float((logits / loaded.config.temperature).softmax(1).max()), abs=2e-4)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize(
    "name",
    ["plain.png", "large.jpg", "turned.jpg", "grey.png", "palette.png", "cmyk.jpg", "transparent.png", "deep.png"],
)
def test_the_program_prepares_images_exactly_as_validation_does(
    report: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resize: Resize, name: str
) -> None:
    config = report.config.model_copy(update={"resize": resize})
    file = picture_file(tmp_path / name)
    found = run_program(config, report.folder, file, monkeypatch)
    torch.testing.assert_close(torch.from_numpy(found["images"]), pixels_in_validation(file, config), rtol=0, atol=1e-5)


def test_the_program_resizes_twice_where_training_did(
    report: ExportReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = report.config.model_copy(update={"stored_size": 40})
    file = picture_file(tmp_path / "plain.png")
    found = run_program(config, report.folder, file, monkeypatch)
    one_level = 1.01 / (255 * min(config.std))
    torch.testing.assert_close(
        torch.from_numpy(found["images"]), pixels_in_validation(file, config), rtol=0, atol=one_level
    )


def test_the_program_is_short_and_is_in_the_export(report: ExportReport) -> None:
    assert len(LABEL_PROGRAM.splitlines()) < 20
    assert (report.folder / "label.py").read_text() == program_in(report.folder / "README.md") == LABEL_PROGRAM


def test_the_card_shows_data_metrics_classes_limits_and_lineage(report: ExportReport) -> None:
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    assert [line for line in card.splitlines() if line.startswith("#")] == [
        "# colours: small_resnet for 5 classes",
        "## Use",
        "## The network in timm",
        "## Data",
        "## Metrics",
        "## Calibration",
        "## Classes",
        "## Limits",
        "## Lineage",
    ]
    assert "`coloured squares`, 5 classes; images: 100 train, 60 val." in card
    assert f"| val/accuracy | {report.config.metrics['val/accuracy']:.4f} |" in card
    assert "| model.onnx |" in card
    assert "| Ärger |" in card
    assert "does not read" not in card  # the program prepares every form as the training did
    assert "| MLflow run | 5f1e |" in card


def test_class_names_cannot_break_the_table(report: ExportReport) -> None:
    assert escaped("a|b\nc") == "a\\|b c"
    assert "| a\\|b |" in model_card(report.config, report.verification)


def test_supports_in_the_card_add_up_to_the_split(report: ExportReport) -> None:
    card = (report.folder / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ \| (\d+) \| \d\.\d{3} \| \d\.\d{3} \| \d\.\d{3} \|$", card, re.MULTILINE)
    assert len(rows) == 5
    assert sum(map(int, rows)) == 60
