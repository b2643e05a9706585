"""`ExportConfig`: the content of config.json, enough to use the model without sweeper."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import pydantic

import sweeper
from sweeper.config.bounds import ImageSide
from sweeper.config.frozen import Frozen
from sweeper.config.hyperparameters import HeadConfig, TestTimeAugmentation, TrialConfig
from sweeper.config.plain_name import PlainName
from sweeper.data.decode import Resize
from sweeper.errors import ExportError
from sweeper.export.calibration import Calibration
from sweeper.export.export_bounds import (
    BATCH_BYTES,
    LARGEST_FILE,
    Bits,
    Classes,
    Deviations,
    Digest,
    InnerName,
    Means,
)
from sweeper.export.export_input import (
    ACCURACY,
    CrossValidation,
    ExportInput,
    Form,
    MergedTrial,
    MergeTry,
    Training,
)
from sweeper.export.seal import digests_of, require_sealed
from sweeper.files import write_whole
from sweeper.modeling.ensemble import AnyClassifier
from sweeper.results import average_of
from sweeper.safeguards.printable import one_line
from sweeper.scores.expected_accuracy import ExpectedAccuracy
from sweeper.seal import seal_of

LIBRARIES = ("torch", "timm", "safetensors", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow")

CHANNELS = 3
AUTOENCODER = b'"task": "reconstruction"'
MOST_TOLD = 3
"""Mistakes that a message names."""


class TensorShape(Frozen):
    """An input or output of the exported network. A named dimension may be of any size."""

    name: str
    layout: str
    shape: tuple[int | str, ...]
    dtype: Literal["float32"] = "float32"


class Lineage(Frozen):
    """Where the model comes from."""

    study: PlainName
    study_id: str | None = None
    """None of a study that an earlier version of sweeper began."""
    model_name: PlainName | None = None
    """What the model is called in a registry, where that is not the study's name."""
    trial: pydantic.NonNegativeInt
    run_id: str | None
    best_epoch: int
    averaged_epochs: tuple[int, ...] = ()
    """Those whose weights are averaged, where it is not the best one alone."""
    dataset: dict[str, Any]
    training: Training
    hyperparameters: TrialConfig

    @property
    def epoch(self) -> str:
        """Where in the trial the weights come from, in words."""
        return average_of(self.averaged_epochs) if self.averaged_epochs else f"epoch {self.best_epoch}"


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

    bits: Bits = 16
    tags_first: bool = True


class ExportConfig(Frozen):
    """What config.json says.

    An image becomes a square of `stored_size` pixels by the rule `resize`, then one of `image_size`, both times by
    `interpolation`, then (value / 255 - mean) / std in every channel. Images with more than 8 bits are read by `depth`.
    Logits divided by the temperature of `calibration`
    are those of probabilities. A `soup` is one network with the mean of its members' weights; an `ensemble`
    holds the networks of all its `members`; `architecture`, `head` and `test_time_augmentation` are the winner's.
    `files` lists all that belongs to the export; `digests` are those of all but this file, `seal` is that of all
    in here.
    """

    format: Literal["sweeper-export"] = "sweeper-export"
    version: Literal[1] = 1
    architecture: str
    head: HeadConfig
    test_time_augmentation: TestTimeAugmentation = "none"
    classes: Classes
    mean: Means
    std: Deviations
    image_size: ImageSide
    stored_size: ImageSide
    resize: Resize
    interpolation: Literal["bicubic"] = "bicubic"
    depth: DepthConfig = DepthConfig()
    input: TensorShape
    output: TensorShape
    metrics: dict[str, float]
    lineage: Lineage
    model_files: tuple[InnerName, ...]
    libraries: dict[str, str]
    files: tuple[InnerName, ...]
    expected: ExpectedAccuracy | None = None
    cross_validation: CrossValidation | None = None
    calibration: Calibration | None = None
    variants: tuple[Variant, ...] = ()
    form: Form = "single"
    members: tuple[MergedTrial, ...] = ()
    merges: tuple[MergeTry, ...] = ()
    digests: dict[InnerName, Digest] = pydantic.Field({})
    seal: Digest | None = None

    @pydantic.model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if not len(self.mean) == len(self.std) == CHANNELS:
            raise ValueError(f"mean and std should have {CHANNELS} values, one a channel")
        if not 0 <= self.metrics.get(ACCURACY, -1) <= 1:
            raise ValueError(f"metrics should have {ACCURACY} between 0 and 1")
        if self.form != "single" and not self.members:
            raise ValueError(f"a {self.form} should name its members")
        return self

    @property
    def batch_size(self) -> int:
        """How many images go through the network at once: as in training, and no more than memory should hold."""
        most = BATCH_BYTES // (4 * CHANNELS * self.image_size**2)
        return min(self.lineage.hyperparameters.batch_size, max(1, most))

    @property
    def own_accuracy(self) -> float:
        """What the weights had on the validation images, or on images that they have seen: to recognise them by."""
        return self.cross_validation.seen_accuracy if self.cross_validation else self.metrics[ACCURACY]

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax; 1 for exports of versions that did not calibrate."""
        return self.calibration.temperature if self.calibration else 1.0

    def network(self) -> TrialConfig:
        """Return what `build_classifier` needs to build the same network again."""
        return _network(self, self.image_size)

    def networks(self) -> tuple[TrialConfig, ...]:
        """Return the same for each member of an ensemble; for anything else, of the one network."""
        return _of_members(self.members, self.image_size) if self.form == "ensemble" else (self.network(),)


def networks_of(source: ExportInput) -> tuple[TrialConfig, ...]:
    """Return what has to be built for the weights of a source: one network, or each member of an ensemble."""
    size = source.config.image_size
    return _of_members(source.members, size) if source.form == "ensemble" else (source.config,)


def _of_members(members: tuple[MergedTrial, ...], image_size: int) -> tuple[TrialConfig, ...]:
    return tuple(_network(member, image_size) for member in members)


def _network(made: ExportConfig | MergedTrial, image_size: int) -> TrialConfig:
    return TrialConfig(
        backbone=made.architecture,
        head=made.head,
        image_size=image_size,
        test_time_augmentation=made.test_time_augmentation,
    )


class Described(pydantic.BaseModel):
    """What a config.json of any task says of where the export is from."""

    lineage: Lineage


def describe_export(
    source: ExportInput, model: AnyClassifier, model_files: tuple[str, ...], files: tuple[str, ...]
) -> ExportConfig:
    """Put together the configuration of an export from its trial and its network."""
    size, classes = source.config.image_size, len(source.classes)
    return ExportConfig(
        architecture=source.config.backbone,
        head=source.config.head,
        test_time_augmentation=source.config.test_time_augmentation,
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
        expected=source.expected if source.form == "single" else None,
        cross_validation=source.cross_validation,
        libraries=library_versions(),
        files=files,
    )


def lineage_of(source: ExportInput) -> Lineage:
    return Lineage(
        study=source.study,
        study_id=source.study_id,
        model_name=source.model_name,
        trial=source.trial,
        run_id=source.run_id,
        best_epoch=source.best_epoch,
        averaged_epochs=source.averaged_epochs,
        dataset=dict(source.dataset),
        training=source.training,
        hyperparameters=source.config,
    )


def library_versions() -> dict[str, str]:
    """Return the versions of all that took part in writing an export."""
    own = {"python": platform.python_version(), "sweeper": sweeper.__version__}
    return own | {name: version(name) for name in LIBRARIES}


def write_config(path: Path, config: ExportConfig) -> ExportConfig:
    """Write a config.json and return what it says, with the digests of the files that lie beside it."""
    named = config.model_copy(update={"digests": digests_of(path.parent, {*config.files} - {path.name})})
    sealed = named.model_copy(update={"seal": seal_of(named.model_dump(mode="json"))})
    write_whole(path, sealed.model_dump_json(indent=2) + "\n")
    return sealed


def read_config(path: Path) -> ExportConfig:
    """Read a config.json. Raises ExportError when it is not that of an export, or not as it was written."""
    content = _content(path)
    if AUTOENCODER in content:
        raise ExportError(f"{path.parent} is the export of an autoencoder, which names no classes; name a classifier's")
    try:
        config = ExportConfig.model_validate_json(content)
        require_sealed(path, json.loads(content))
    except pydantic.ValidationError as error:
        raise ExportError(
            f"{path} is not the configuration of an export, or of a newer sweeper than {sweeper.__version__}: "
            f"{_told(error)}; export the trial again"
        ) from error
    return config


def export_lineage(path: Path) -> Lineage:
    """Read where an export is from, a classifier's or an autoencoder's. Raises ExportError as `read_config` does."""
    content = _content(path)
    if AUTOENCODER not in content:
        return read_config(path).lineage
    try:
        return Described.model_validate_json(content).lineage
    except pydantic.ValidationError as error:
        raise ExportError(f"{path} is not the configuration of an export: {_told(error)}") from error


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ExportError(f"{path.parent} is not an export: config.json is not a regular file")
        if path.stat().st_size > LARGEST_FILE:
            raise ExportError(f"{path} is not the configuration of an export: it is larger than {LARGEST_FILE:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path.parent} is not an export: config.json cannot be read ({error.strerror})") from error


def _told(error: pydantic.ValidationError) -> str:
    """Return the first mistakes on one line."""
    mistakes = error.errors(include_url=False, include_input=False)
    found = [": ".join(filter(None, (_key(part["loc"]), _rule(part["msg"])))) for part in mistakes[:MOST_TOLD]]
    more = f"; and {len(mistakes) - MOST_TOLD:,} more" if len(mistakes) > MOST_TOLD else ""
    return one_line("; ".join(found)) + more


def _key(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:80] for part in location)


def _rule(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Input ")[:200]
