"""The export of an autoencoder: its encoder and the whole of it as ONNX, each checked against the weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydantic
import torch
from torch import Tensor, nn

from sweeper.config.frozen import Frozen
from sweeper.data.batches import DeviceImages
from sweeper.data.decode import Resize
from sweeper.errors import ExportError
from sweeper.export.export import copy_model_files
from sweeper.export.export_config import DepthConfig, Lineage, TensorShape, library_versions, lineage_of
from sweeper.export.export_input import ExportInput, Training
from sweeper.export.folder import require_replaceable, staged
from sweeper.export.label_program import write_picture
from sweeper.export.load import load_autoencoder
from sweeper.export.seal import digests_of
from sweeper.export.self_description import describe_onnx, self_description, write_weights
from sweeper.export.verify import LARGEST_DIFFERENCE, full_precision
from sweeper.files import write_whole
from sweeper.modeling.autoencoder import Autoencoder
from sweeper.modeling.formats import read_onnx, recording, trace, write_onnx
from sweeper.paths import ExportFolder
from sweeper.training.device import place
from sweeper.training.image_quality import mean_squared_error, psnr

PSNR = "val/psnr"
SAME_ARITHMETIC, OTHER_ARITHMETIC = 0.01, 0.5  # dB by which the PSNR may differ from the logged one
ENCODER, WHOLE = "encoder.onnx", "autoencoder.onnx"
FEATURES, IMAGES = "features", "reconstructions"  # what the two give


class AutoencoderConfig(Frozen):
    """What config.json says of an autoencoder; images are prepared as for any other export.

    Features are float32 [N, D]; reconstructions float32 [N, 3, S, S] on the scale 0 to 1.
    """

    format: Literal["sweeper-export"] = "sweeper-export"
    version: Literal[1] = 1
    task: Literal["reconstruction"] = "reconstruction"
    architecture: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    stored_size: int
    resize: Resize
    interpolation: Literal["bicubic"] = "bicubic"
    depth: DepthConfig = DepthConfig()
    input: TensorShape
    outputs: dict[str, TensorShape]
    metrics: dict[str, float]
    lineage: Lineage
    model_files: tuple[str, ...]
    libraries: dict[str, str]
    files: tuple[str, ...]
    digests: dict[str, str] = pydantic.Field({})


@dataclass(frozen=True)
class QualityCheck:
    """A file against what it must reproduce: `value` and `expected` are PSNR in dB where both are given.

    `difference` is in dB for the weights; for ONNX the largest of any feature, relative to the largest
    there is, or of any pixel on the scale 0 to 1.
    """

    file: str
    value: float | None
    expected: float | None
    difference: float
    allowed: float


@dataclass(frozen=True)
class AutoencoderReport:
    """What was written where, and its checks over `images` validation images."""

    folder: Path
    images: int
    checks: tuple[QualityCheck, ...]


class Encoder(nn.Module):
    """Gives features [N, D] for images."""

    def __init__(self, model: Autoencoder):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.model.backbone(images)
        return features


class Reconstructor(nn.Module):
    """Gives reconstructions [N, 3, S, S] on the scale 0 to 1 for images."""

    def __init__(self, model: Autoencoder):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        pairs: Tensor = self.model(images)
        return pairs[:, 1].clamp(0, 1)


PARTS: dict[str, tuple[type[Encoder | Reconstructor], str]] = {
    ENCODER: (Encoder, FEATURES),
    WHOLE: (Reconstructor, IMAGES),
}


def export_autoencoder(source: ExportInput, val: DeviceImages, destination: Path) -> AutoencoderReport:
    """Write a trial's best epoch as safetensors and its encoder and the whole as ONNX, verified and described.

    Raises ExportError when a part cannot be written or does not reproduce what was logged, or
    `destination` must not be replaced. What stood there is left as it was.
    """
    if PSNR not in source.metrics:
        raise ExportError(f"trial {source.trial} has no logged {PSNR} to verify an export by; export another trial")
    require_replaceable(destination)
    with staged(destination) as files:
        model_files = copy_model_files(source.model_files, files)
        model = load_autoencoder(source.config, source.weights)
        config = _describe(source, model, model_files)
        facts = self_description(config)
        write_weights(source.weights, files.weights, facts)
        for name, (part, output) in PARTS.items():
            _write_part(part(model), source, output, files.path / name)
            describe_onnx(files.path / name, facts)
        write_picture(files.picture)
        place(model, val.device)
        checks = verify_autoencoder(source, model, val, files)
        write_whole(files.verification, json.dumps([dataclasses.asdict(check) for check in checks], indent=2) + "\n")
        written = {*files.files(), files.config.name, files.card.name}
        write_whole(files.card, _card(config, checks, len(val)))
        digests = digests_of(files.path, written - {files.config.name})
        config = config.model_copy(update={"files": tuple(sorted(written)), "digests": digests})
        write_whole(files.config, config.model_dump_json(indent=2) + "\n")
    return AutoencoderReport(destination, len(val), checks)


def _write_part(part: nn.Module, source: ExportInput, output: str, path: Path) -> None:
    with recording(f"{source.config.backbone} cannot be written as {path.name}", "export another trial"):
        write_onnx(trace(part, source.config.image_size), path, output)


@torch.inference_mode()
def verify_autoencoder(
    source: ExportInput, model: Autoencoder, val: DeviceImages, files: ExportFolder
) -> tuple[QualityCheck, ...]:
    """Put the validation images through the weights, on the device of both, and through the ONNX files.

    Raises ExportError naming every file that differs by more than it may.
    """
    encode, rebuild = (read_onnx(files.path / name, output) for name, (_, output) in PARTS.items())
    sums = torch.zeros(2, dtype=torch.float64)
    feature_error, largest_feature, pixel_error = torch.tensor([0.0, 1e-12, 0.0])
    config = source.config
    for batch in val.eval_batches(config.batch_size, config.image_size, model.mean, model.std):
        with full_precision():
            features, pairs = model.backbone(batch.inputs).cpu(), model(batch.inputs).cpu()
        images, restored, again = pairs[:, 0], pairs[:, 1].clamp(0, 1), rebuild(batch.inputs)
        sums += torch.stack([psnr(mean_squared_error(images, made)).double().sum() for made in (restored, again)])
        feature_error = torch.maximum(feature_error, (encode(batch.inputs) - features).abs().max())  # which keeps NaN
        largest_feature = torch.maximum(largest_feature, features.abs().max())
        pixel_error = torch.maximum(pixel_error, (again - restored).abs().max())
    weights, onnx = (sums / len(val)).tolist()
    logged = source.metrics[PSNR]
    checks = (
        QualityCheck(files.weights.name, weights, logged, abs(weights - logged), _allowed(source.training, val)),
        QualityCheck(ENCODER, None, None, float(feature_error / largest_feature), LARGEST_DIFFERENCE),
        QualityCheck(WHOLE, onnx, weights, float(pixel_error), LARGEST_DIFFERENCE),
    )
    wrong = [check for check in checks if not check.difference <= check.allowed]
    if wrong:
        raise ExportError("\n".join(_problem(check) for check in wrong))
    return checks


def _allowed(training: Training, val: DeviceImages) -> float:
    same = training.precision == "float32" and training.device == val.device.type
    return SAME_ARITHMETIC if same else OTHER_ARITHMETIC


def _problem(check: QualityCheck) -> str:
    return (
        f"{check.file} differs by {check.difference:.3g} from what the trial gave on the validation images, "
        f"{check.allowed:g} allowed; check that the images, the model files and the weights are those of the trial"
    )


@torch.no_grad()
def _describe(source: ExportInput, model: Autoencoder, model_files: tuple[str, ...]) -> AutoencoderConfig:
    size, channels = source.config.image_size, len(model.mean)
    features = model.backbone(torch.zeros(1, channels, size, size, device=next(model.parameters()).device)).shape[1]
    shape: tuple[int | str, ...] = ("batch", channels, size, size)
    return AutoencoderConfig(
        architecture=source.config.backbone,
        mean=model.mean,
        std=model.std,
        image_size=size,
        stored_size=source.stored_size,
        resize=source.resize,
        depth=DepthConfig(**source.depth._asdict()),
        input=TensorShape(name="images", layout="NCHW", shape=shape),
        outputs={
            ENCODER: TensorShape(name=FEATURES, layout="NC", shape=("batch", features)),
            WHOLE: TensorShape(name=IMAGES, layout="NCHW", shape=shape),
        },
        metrics=dict(source.metrics),
        lineage=lineage_of(source),
        model_files=model_files,
        libraries=library_versions(),
        files=(),
    )


def _card(config: AutoencoderConfig, checks: tuple[QualityCheck, ...], images: int) -> str:
    """Return the README of the export."""
    values, size = config.outputs[ENCODER].shape[1], config.image_size
    measured = f"a PSNR of {config.metrics[PSNR]:.2f} dB on {images:,} validation images"
    scale = f"normalised by mean {list(config.mean)} and deviation {list(config.std)}"
    told = "\n".join(
        f"- `{check.file}`: differs by {check.difference:.2g}, {check.allowed:g} allowed" for check in checks
    )
    return (
        f"# {config.lineage.study}: the autoencoder {config.architecture}\n\n"
        f"Trial {config.lineage.trial}, {config.lineage.epoch}. Images of {size} pixels become "
        f"{values:,} values and come back with {measured}.\n\n"
        f"- `{ENCODER}`: normalised images [N, 3, S, S] to features [N, {values}]\n"
        f"- `{WHOLE}`: the same to reconstructions [N, 3, S, S] on the scale 0 to 1\n"
        "- `model.safetensors`: the weights; `search.pretrained` of a search space takes this file\n\n"
        f"Pixels are scaled to 0 to 1, then {scale}: `prepared(data, config)` of the folder `picture` does so with the "
        "bytes of an image file and `config.json`; it needs Pillow and NumPy.\n\n"
        f"## Checked\n\n{told}\n"
    )
