"""A small trained-looking trial, its validation split, and one export of it for all tests."""

from __future__ import annotations

import io
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.export.export import ExportReport, export_model
from sweeper.export.export_input import ExportInput, Training
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.modeling.registry import load_model_files
from sweeper.training.evaluate import evaluate

SMALL_RESNET = Path(__file__).parents[2] / "models" / "small_resnet.py"
CLASSES = ("cat", "dog", "a|b", "Ärger", "tree")
CPU = torch.device("cpu")


def make_images(size: int, count: int = 60) -> np.ndarray:
    """Coloured squares with noise, uint8 [count, size, size, 3]."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (count, 1, 1, 3))
    noise = random.integers(-40, 41, (count, size, size, 3))
    pixels: np.ndarray = np.clip(colours + noise, 0, 255).astype(np.uint8)
    return pixels


def settled(config: TrialConfig, images: np.ndarray) -> Classifier:
    """Return a network whose batch statistics are those of the images, as after training."""
    torch.manual_seed(1)
    classifier = build_classifier(config, len(CLASSES), load_weights=False)
    for module in classifier.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the plain mean over all batches
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        classifier.train()(inputs)
    return classifier.eval()


def make_trial(folder: Path, config: TrialConfig, stored_size: int | None = None) -> tuple[ExportInput, DeviceImages]:
    """Return a trial that labels about 70 % of its validation images rightly, and these images."""
    load_model_files([SMALL_RESNET])
    size = stored_size or config.image_size
    pixels = make_images(size)
    classifier = settled(config, make_images(config.image_size))
    rows = np.arange(len(pixels))
    unlabelled = ImageSet(pixels, np.zeros(len(pixels), np.int64), CLASSES, {"val": rows}, digest="0" * 32)
    labels = predicted(classifier, DeviceImages(unlabelled, "val", CPU), config)
    labels[::3] = np.random.default_rng(2).integers(0, len(CLASSES), len(labels[::3]))
    val = DeviceImages(replace(unlabelled, labels=labels), "val", CPU)
    weights = folder / "epoch-0003.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in classifier.state_dict().items()}, weights)
    return source_of(classifier, val, config, weights, size), val


def predicted(classifier: Classifier, images: DeviceImages, config: TrialConfig) -> np.ndarray:
    with torch.inference_mode():
        batches = images.eval_batches(config.batch_size, config.image_size, classifier.mean, classifier.std)
        return torch.cat([classifier(batch.inputs).argmax(1) for batch in batches]).numpy()


def source_of(
    classifier: Classifier, val: DeviceImages, config: TrialConfig, weights: Path, stored_size: int
) -> ExportInput:
    trained = classifier.to(memory_format=torch.channels_last)
    logged = evaluate(
        trained,
        val.eval_batches(config.batch_size, config.image_size, trained.mean, trained.std),
        classes=len(CLASSES),
        device=CPU,
    )
    return ExportInput(
        study="colours",
        trial=7,
        config=config,
        classes=CLASSES,
        weights=weights,
        metrics={"train/loss": 0.5, **{f"val/{name}": value for name, value in logged.values.items()}},
        best_epoch=3,
        dataset={"name": "coloured squares", "digest": "0" * 32, "images": {"train": 100, "val": len(val)}},
        stored_size=stored_size,
        resize="crop",
        training=Training(),
        model_files=(SMALL_RESNET,),
        run_id="5f1e",
    )


SMALL = TrialConfig(
    backbone="small_resnet",
    image_size=16,
    batch_size=25,
    head={"hidden": [24], "norm": "batch", "dropout": 0.1},
)


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportInput, DeviceImages]:
    return make_trial(tmp_path_factory.mktemp("trial"), SMALL)


@pytest.fixture(scope="session")
def source(trial: tuple[ExportInput, DeviceImages]) -> ExportInput:
    return trial[0]


@pytest.fixture(scope="session")
def val(trial: tuple[ExportInput, DeviceImages]) -> DeviceImages:
    return trial[1]


@dataclass(frozen=True)
class Exported:
    """An export, and what was printed while it was made."""

    report: ExportReport
    printed: str


@pytest.fixture(scope="session")
def exported(source: ExportInput, val: DeviceImages, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        report = export_model(source, val, tmp_path_factory.mktemp("exports") / "colours")
    return Exported(report, output.getvalue())


@pytest.fixture(scope="session")
def report(exported: Exported) -> ExportReport:
    """Of an export that all tests share and none may change."""
    return exported.report


@pytest.fixture
def folder(report: ExportReport, tmp_path: Path) -> Path:
    """A copy of the export, to be changed."""
    return Path(shutil.copytree(report.folder, tmp_path / "colours"))
