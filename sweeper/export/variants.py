"""Smaller ONNX files: half precision and 8-bit integers, each kept only if it costs little accuracy."""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sweeper.data.batches import DeviceImages
from sweeper.errors import first_line
from sweeper.export.export_config import ExportConfig, Variant, VariantTry
from sweeper.export.quantize import METHODS, Images, VariantKind, Writer
from sweeper.export.self_description import describe_onnx, self_description
from sweeper.export.verify import Pass, changed_predictions, evaluated
from sweeper.modeling.formats import Predict, read_onnx
from sweeper.paths import ExportFolder
from sweeper.scores.mcnemar import paired

TOLERANCE = 0.01
"""Most accuracy that a variant may lose by default: one image in a hundred."""

CALIBRATION_IMAGES = 256
"""Training images by which the ranges of activations are found."""

CALIBRATION_BATCH = 32

ROUNDS = 15
"""How often a single image is timed; the median counts."""


@dataclass(frozen=True)
class VariantRequest:
    """Which variants to write, how much accuracy each may lose, and training images in an order that is chance."""

    kinds: tuple[VariantKind, ...]
    train: DeviceImages
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Judge:
    """What variants are measured by: the validation split, and what the weights make of it."""

    config: ExportConfig
    val: DeviceImages
    reference: Pass

    def measure(self, method: str, path: Path) -> VariantTry:
        """Run the validation split through an ONNX file."""
        logits, labels = evaluated(read_onnx(path), self.val, self.config).logits, self.val.labels.cpu()
        right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
        full = self.reference.logits.argmax(1) == labels
        found = paired(full.numpy(), right.numpy())
        return VariantTry(
            method=method,
            accuracy=float(right.double().mean()),
            lost=0.0 - found.difference,
            margin=found.margin,
            changed=changed_predictions(logits, self.reference.logits),
        )


def write_variants(files: ExportFolder, judge: Judge, request: VariantRequest) -> tuple[Variant, ...]:
    """Write the variants that are asked for and lose no more than they may; report all of them.

    The methods for each are compared on the validation split, by accuracy and then by predictions changed.
    """
    batches = calibration_batches(judge.config, request.train)
    return tuple(_best_of(kind, files, judge, batches, request.tolerance) for kind in dict.fromkeys(request.kinds))


def calibration_batches(config: ExportConfig, train: DeviceImages) -> list[Images]:
    """Return training images as the network takes them, without augmentation."""
    count = math.ceil(min(CALIBRATION_IMAGES, len(train)) / CALIBRATION_BATCH)
    batches = train.eval_batches(CALIBRATION_BATCH, config.image_size, config.mean, config.std)
    return [batch.inputs.cpu().contiguous().numpy() for _, batch in zip(range(count), batches, strict=False)]


def _best_of(
    kind: VariantKind, files: ExportFolder, judge: Judge, batches: Sequence[Images], tolerance: float
) -> Variant:
    """Try every method for a variant, and keep the best file if it loses no more than it may."""
    target = files.variant(kind)
    with tempfile.TemporaryDirectory(prefix="sweeper-variant-") as folder:
        made = {method: Path(folder) / f"{number}.onnx" for number, method in enumerate(METHODS[kind])}
        tried = tuple(
            _try(method, write, files.onnx, made[method], batches, judge) for method, write in METHODS[kind].items()
        )
        best = max(tried, key=lambda item: (item.failure is None, item.accuracy, -item.changed))
        kept = best.failure is None and best.lost <= tolerance
        variant = Variant(file=target.name, method=best.method, kept=kept, tolerance=tolerance, tried=tried)
        if not kept:
            return variant
        shutil.copyfile(made[best.method], target)
        describe_onnx(target, self_description(judge.config, judge.config.classes))
    full, small = milliseconds([read_onnx(files.onnx), read_onnx(target)], batches[0][:1])
    sizes = {"bytes": target.stat().st_size, "full_bytes": files.onnx.stat().st_size}
    return variant.model_copy(update={**sizes, "milliseconds": small, "full_milliseconds": full})


def _try(method: str, write: Writer, source: Path, target: Path, batches: Sequence[Images], judge: Judge) -> VariantTry:
    try:
        write(source, target, batches)
        return judge.measure(method, target)
    except OSError:
        raise  # the disk is to blame, not the network
    except Exception as error:  # whatever onnxruntime's tools meet in an architecture
        return VariantTry(method=method, failure=f"{type(error).__name__}: {first_line(error)}")


def milliseconds(networks: Sequence[Predict], image: Images) -> list[float]:
    """Return the median time that each network takes for one image [1, 3, S, S], measured in turns."""
    inputs = torch.from_numpy(image)
    times: list[list[float]] = [[] for _ in networks]
    for _ in range(ROUNDS + 1):
        for predict, taken in zip(networks, times, strict=True):
            started = time.perf_counter()
            predict(inputs)
            taken.append(1000 * (time.perf_counter() - started))
    return [statistics.median(taken[1:]) for taken in times]  # the first call allocates
