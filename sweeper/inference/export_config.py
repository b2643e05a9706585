"""`ExportConfig`: the content of config.json, enough to use the model without sweeper."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pydantic

import sweeper
from sweeper.config.hyperparameters import Frozen, HeadConfig, TrialConfig
from sweeper.data.decode import Resize
from sweeper.errors import ExportError
from sweeper.files import write_whole
from sweeper.inference.calibration import Calibration
from sweeper.inference.source import ExportSource, Form, Member, MergeTry, Training
from sweeper.modeling.ensemble import AnyClassifier

LIBRARIES = ("torch", "timm", "safetensors", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow")


class TensorShape(Frozen):
    """An input or output of the exported network. A named dimension may be of any size."""

    name: str
    layout: str
    shape: tuple[int | str, ...]
    dtype: Literal["float32"] = "float32"


class Lineage(Frozen):
    """Where the model comes from."""

    study: str
    study_id: str | None = None
    """None of a study that an earlier version of sweeper began."""
    model_name: str | None = None
    """What the model is called in a registry, where that is not the study's name."""
    trial: int
    run_id: str | None
    best_epoch: int
    dataset: dict[str, Any]
    training: Training
    hyperparameters: TrialConfig


class VariantTry(Frozen):
    """One way to make a variant, and what it costs on the validation split; or why it cannot be made.

    `lost` is accuracy, `margin` half the width of its 95 % interval, `changed` predictions.
    """

    method: str
    accuracy: float = 0.0
    lost: float = 1.0
    margin: float = 0.0
    changed: int = 0
    failure: str | None = None


class Variant(Frozen):
    """A smaller ONNX file, made by the best of the methods that were `tried`.

    It is left out, `kept` being false, where it loses more accuracy than `tolerance` or cannot be made. Time
    is that of a single image on the CPU of the machine that exported, and stands beside that of `model.onnx`.
    """

    file: str
    method: str
    kept: bool
    tolerance: float
    tried: tuple[VariantTry, ...]
    bytes: int = 0
    full_bytes: int = 0
    milliseconds: float = 0.0
    full_milliseconds: float = 0.0

    @property
    def best(self) -> VariantTry:
        return next(item for item in self.tried if item.method == self.method)


class DepthConfig(Frozen):
    """How images with more than 8 bits are read: 2 ** bits - 1 is white, and a file's own tag counts first or never."""

    bits: int = 16
    tags_first: bool = True


class ExportConfig(Frozen):
    """What config.json says.

    An image becomes a square of `stored_size` pixels by the rule `resize`, then one of `image_size`, both times by
    `interpolation`, then (value / 255 - mean) / std in every channel. Images with more than 8 bits are read by `depth`.
    Logits divided by the temperature of `calibration`
    are those of probabilities. A `soup` is one network with the mean of its members' weights; an `ensemble`
    holds the networks of all its `members`; `architecture` and `head` are the winner's. `files` lists all
    that belongs to the export.
    """

    format: Literal["sweeper-export"] = "sweeper-export"
    version: Literal[1] = 1
    architecture: str
    head: HeadConfig
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    stored_size: int
    resize: Resize
    interpolation: Literal["bicubic"] = "bicubic"
    depth: DepthConfig = DepthConfig()
    input: TensorShape
    output: TensorShape
    metrics: dict[str, float]
    lineage: Lineage
    model_files: tuple[str, ...]
    libraries: dict[str, str]
    files: tuple[str, ...]
    calibration: Calibration | None = None
    variants: tuple[Variant, ...] = ()
    form: Form = "single"
    members: tuple[Member, ...] = ()
    merges: tuple[MergeTry, ...] = ()

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax; 1 for exports of versions that did not calibrate."""
        return self.calibration.temperature if self.calibration else 1.0

    def network(self) -> TrialConfig:
        """Return what `build_classifier` needs to build the same network again."""
        return TrialConfig(backbone=self.architecture, head=self.head, image_size=self.image_size)

    def networks(self) -> tuple[TrialConfig, ...]:
        """Return the same for each member of an ensemble; for anything else, of the one network."""
        return _of_members(self.members, self.image_size) if self.form == "ensemble" else (self.network(),)


def networks_of(source: ExportSource) -> tuple[TrialConfig, ...]:
    """Return what has to be built for the weights of a source: one network, or each member of an ensemble."""
    size = source.config.image_size
    return _of_members(source.members, size) if source.form == "ensemble" else (source.config,)


def _of_members(members: tuple[Member, ...], image_size: int) -> tuple[TrialConfig, ...]:
    return tuple(TrialConfig(backbone=m.architecture, head=m.head, image_size=image_size) for m in members)


def describe_export(
    source: ExportSource, model: AnyClassifier, model_files: tuple[str, ...], files: tuple[str, ...]
) -> ExportConfig:
    """Put together the configuration of an export from its trial and its network."""
    size, classes = source.config.image_size, len(source.classes)
    return ExportConfig(
        architecture=source.config.backbone,
        head=source.config.head,
        classes=source.classes,
        mean=model.mean,
        std=model.std,
        image_size=size,
        stored_size=source.stored_size,
        resize=source.resize,
        depth=DepthConfig(**source.depth._asdict()),
        input=TensorShape(name="images", layout="NCHW", shape=("batch", len(model.mean), size, size)),
        output=TensorShape(name="logits", layout="NC", shape=("batch", classes)),
        metrics=dict(source.metrics),
        lineage=lineage_of(source),
        model_files=model_files,
        form=source.form,
        members=source.members,
        merges=source.merges,
        libraries=library_versions(),
        files=files,
    )


def lineage_of(source: ExportSource) -> Lineage:
    return Lineage(
        study=source.study,
        study_id=source.study_id,
        model_name=source.model_name,
        trial=source.trial,
        run_id=source.run_id,
        best_epoch=source.best_epoch,
        dataset=dict(source.dataset),
        training=source.training,
        hyperparameters=source.config,
    )


def library_versions() -> dict[str, str]:
    """Return the versions of all that took part in writing an export."""
    own = {"python": platform.python_version(), "sweeper": sweeper.__version__}
    return own | {name: version(name) for name in LIBRARIES}


def write_config(path: Path, config: ExportConfig) -> None:
    write_whole(path, config.model_dump_json(indent=2) + "\n")


def _require_classifier(path: Path, content: bytes) -> None:
    if b'"task": "reconstruction"' in content:
        raise ExportError(f"{path.parent} is the export of an autoencoder, which names no classes; name a classifier's")


def read_config(path: Path) -> ExportConfig:
    """Read a config.json. Raises ExportError when it is not that of an export."""
    try:
        content = path.read_bytes()
        _require_classifier(path, content)
        return ExportConfig.model_validate_json(content)
    except OSError as error:
        raise ExportError(f"{path.parent} is no export: config.json cannot be read ({error.strerror})") from error
    except pydantic.ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise ExportError(
            f"{path} is not the configuration of an export, or of a newer sweeper than {sweeper.__version__}: {found}; "
            "export the trial again"
        ) from error
