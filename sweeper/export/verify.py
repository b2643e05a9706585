"""Proof that the files of an export are the model that was trained: each is loaded again and evaluated."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from sweeper.data.batches import Batch, DeviceImages
from sweeper.errors import ExportError
from sweeper.export.export_config import ExportConfig
from sweeper.export.export_input import Training
from sweeper.export.load import load_export
from sweeper.files import write_whole
from sweeper.modeling.ensemble import AnyClassifier
from sweeper.modeling.formats import Predict, read_onnx, read_program
from sweeper.paths import ExportFolder
from sweeper.safeguards.quantity import quantity
from sweeper.training.device import place
from sweeper.training.evaluate import Evaluation, evaluate_predictions
from sweeper.training.host_allocator import keep_freed_memory
from sweeper.training.micro_batch import MicroBatches, Parts

OTHER_ARITHMETIC = 0.005
"""Share of the images by which accuracy may differ from that of another device or precision."""

CHANGED = 0.001
"""Share of the images that another format may classify otherwise than the weights do."""

LARGEST_DIFFERENCE = 0.01
"""Most that a logit of another format may differ, relative to the largest logit there is."""


@dataclass(frozen=True)
class WeightsCheck:
    """The weights in float32 against what was logged. `off` images are within `allowed`, for the reason `why`."""

    file: str
    accuracy: float
    logged: float
    off: int
    allowed: int
    why: str


@dataclass(frozen=True)
class FormatCheck:
    """Another format against the weights.

    `changed` predictions are within `allowed`; `difference` is the largest of any logit, relative to
    the largest logit there is.
    """

    file: str
    accuracy: float
    changed: int
    allowed: int
    difference: float


@dataclass(frozen=True)
class Pass:
    """One pass over a split: its scores, and the logits [N, C] on the CPU."""

    evaluation: Evaluation
    logits: Tensor


@dataclass(frozen=True)
class Verification:
    """All checks of an export over `images` validation images, and the scores and logits of its weights."""

    images: int
    device: str
    weights: WeightsCheck
    formats: tuple[FormatCheck, ...]
    reference: Pass

    @property
    def evaluation(self) -> Evaluation:
        return self.reference.evaluation


def verify_export(folder: Path, val: DeviceImages) -> Verification:
    """Evaluate every format of an export on the validation split, in the batches of the training.

    The weights run in float32 on the device of `val`, the other formats on the CPU.

    Raises:
        ExportError: naming every format that cannot be loaded or differs by more than it may.
    """
    keep_freed_memory()  # some formats run on the CPU, whatever the device
    loaded, files = load_export(folder), ExportFolder(folder)
    with full_precision():
        reference = evaluated(classifier_on(loaded.classifier, val.device), val, loaded.config)
    weights = check_weights(files.weights.name, reference, loaded.config, val.device)
    problems = weights_problems(weights, len(val))
    formats: list[FormatCheck] = []
    for path, read in ((files.program, partial(_program_on, val.device)), (files.onnx, read_onnx)):
        try:
            check = check_format(path, read, reference, val, loaded.config)
        except ExportError as error:
            problems.append(str(error))
            continue
        formats.append(check)
        problems += format_problems(check, weights.accuracy, len(val))
    if problems:
        raise ExportError("\n".join(problems))
    return Verification(len(val), str(val.device), weights, tuple(formats), reference)


def _program_on(device: torch.device, path: Path) -> Predict:
    return in_parts_that_fit(read_program(path), device)


def evaluated(predict: Predict, val: DeviceImages, config: ExportConfig) -> Pass:
    """Run a split through a network, batched and prepared as when the trial was validated."""
    batch_size = config.lineage.hyperparameters.batch_size
    batches = val.eval_batches(batch_size, config.image_size, config.mean, config.std)
    return passed(predict, batches, len(config.classes), val.device)


def passed(predict: Predict, batches: Iterable[Batch], classes: int, device: torch.device) -> Pass:
    """Run batches on a device through a network, and keep its logits."""
    kept: list[Tensor] = []

    def predict_and_keep(images: Tensor) -> Tensor:
        logits = predict(images).float()
        kept.append(logits.cpu())
        return logits.to(device)

    evaluation = evaluate_predictions(predict_and_keep, batches, classes, device)
    return Pass(evaluation, torch.cat(kept))


def classifier_on(classifier: AnyClassifier, device: torch.device) -> Predict:
    """Put a classifier on a device as the trainer does, and return it; what does not fit goes through in parts."""
    place(classifier, device)
    return in_parts_that_fit(classifier, device)


def in_parts_that_fit(network: Predict, device: torch.device) -> Predict:
    """Return a network that takes batches [B, ...] in parts, where memory does not hold them whole."""
    micro_batches = MicroBatches(device)

    def predict(images: Tensor) -> Tensor:
        def attempt(cut: Parts) -> Tensor:
            return torch.cat([network(images[part]) for part in cut])

        return micro_batches.fit("evaluation", len(images), attempt, rewind=lambda: None)

    return predict


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep CUDA from rounding float32 to TF32, which convolutions do by default."""
    kinds = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = "ieee"
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def check_weights(file: str, reference: Pass, config: ExportConfig, device: torch.device) -> WeightsCheck:
    """Compare the accuracy of the weights with the logged one."""
    accuracy, logged = reference.evaluation.values["accuracy"], config.own_accuracy
    images = len(reference.logits)
    allowed, why = tolerance(config.lineage.training, device, images)
    return WeightsCheck(file, accuracy, logged, off=images_between(accuracy, logged, images), allowed=allowed, why=why)


def images_between(accuracy: float, logged: float, images: int) -> int:
    """Return by how many images two accuracies differ, rounded up where that is not a whole number."""
    return math.ceil(abs(accuracy - logged) * images - 1e-6)  # less what dividing has rounded


def tolerance(training: Training, device: torch.device, images: int) -> tuple[int, str]:
    """Return by how many images the accuracy may differ from the logged one, and why."""
    trained = f"{training.precision} on {training.device}"
    if (training.device, training.precision) == (device.type, "float32"):
        then = _arranged_otherwise(training, device)
        if then is None:
            return 0, f"validated in {trained} then and now"
        return max(1, math.ceil(CHANGED * images)), f"validated in {trained} {then}"
    return math.ceil(OTHER_ARITHMETIC * images), f"validated in {trained} then, in float32 on {device.type} now"


def _arranged_otherwise(training: Training, device: torch.device) -> str | None:
    """Say what rounds otherwise now than in the validation of a trial on such a device; None where nothing does."""
    if training.on_features:
        return "on stored features then, on images now"
    if training.devices > 1:
        return f"on {training.devices} devices then, on one now"
    threads = torch.get_num_threads()
    if device.type == "cpu" and training.threads not in (None, threads):
        return f"by {quantity(int(training.threads or 0), 'thread')} then, by {threads} now"
    return None


def check_format(
    path: Path,
    read: Callable[[Path], Predict],
    reference: Pass,
    val: DeviceImages,
    config: ExportConfig,
) -> FormatCheck:
    """Load a format and compare its logits with the reference's. Raises ExportError when it does not run."""
    try:
        found = evaluated(read(path), val, config)
    except Exception as error:  # torch and onnxruntime answer damaged files with whatever they meet first
        raise ExportError(f"{path.name} does not run: {type(error).__name__}: {error}; export again") from error
    return FormatCheck(
        path.name,
        found.evaluation.values["accuracy"],
        changed=changed_predictions(found.logits, reference.logits),
        allowed=max(1, math.ceil(CHANGED * len(val))),
        difference=relative_difference(found.logits, reference.logits),
    )


def changed_predictions(logits: Tensor, reference: Tensor) -> int:
    """Count the rows of [N, C] whose largest logit is another one, or that are not finite."""
    other = logits.argmax(1) != reference.argmax(1)
    return int((other | ~logits.isfinite().all(1)).sum())


def relative_difference(logits: Tensor, reference: Tensor) -> float:
    """Return the largest difference of any logit over the largest logit."""
    largest = reference.abs().max().clamp(min=torch.finfo(reference.dtype).tiny)
    return float((logits - reference).abs().max() / largest)


def weights_problems(check: WeightsCheck, images: int) -> list[str]:
    if check.off <= check.allowed:
        return []
    off = quantity(check.off, "image")
    return [
        f"{check.file} gives accuracy {check.accuracy:.6f} on {images:,} validation images where {check.logged:.6f} "
        f"was logged: off by {off}, {check.allowed} allowed ({check.why}); check that the images, "
        "the model files and the weights are those of the trial"
    ]


def format_problems(check: FormatCheck, accuracy: float, images: int) -> list[str]:
    if check.changed <= check.allowed and check.difference <= LARGEST_DIFFERENCE:
        return []
    return [
        f"{check.file} gives accuracy {check.accuracy:.6f} where the weights give {accuracy:.6f}: {check.changed} of "
        f"{images:,} predictions changed, {check.allowed} allowed; logits differ by {check.difference:.2g} of the "
        f"largest, {LARGEST_DIFFERENCE} allowed; export again, and if that does not help use model.safetensors"
    ]


def write_verification(path: Path, verification: Verification) -> None:
    """Write all but the confusion matrix and the logits as JSON."""
    content = dataclasses.asdict(dataclasses.replace(verification, reference=None))  # type: ignore[arg-type]
    del content["reference"]
    write_whole(path, json.dumps(content, indent=2) + "\n")
