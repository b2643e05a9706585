"""The export of a trial: a folder with everything needed to use it, and the proof that it works."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.data.batches import DeviceImages
from sweeper.errors import ConfigError, ExportError
from sweeper.export.calibration import calibrate, logits_of
from sweeper.export.export_config import ExportConfig, describe_export, networks_of, write_config
from sweeper.export.export_input import ACCURACY, ExportInput
from sweeper.export.folder import require_replaceable, staged
from sweeper.export.label_program import write_label_program
from sweeper.export.load import load_network
from sweeper.export.model_card import model_card
from sweeper.export.self_description import describe_onnx, self_description, write_weights
from sweeper.export.variants import Judge, VariantRequest, write_variants
from sweeper.export.verify import Verification, verify_export, write_verification
from sweeper.files import write_whole
from sweeper.modeling.ensemble import AnyClassifier
from sweeper.modeling.formats import recording, trace, write_onnx, write_program
from sweeper.modeling.registry import load_model_files
from sweeper.paths import ExportFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportReport:
    """What was written where, and what verification found."""

    folder: Path
    config: ExportConfig
    verification: Verification


def export_model(
    source: ExportInput, val: DeviceImages, destination: Path, variants: VariantRequest | None = None
) -> ExportReport:
    """Write a trial's best epoch as safetensors, torch.export program and ONNX: verified, calibrated, described.

    Args:
        source: The trial.
        val: The validation split that the logged metrics were measured on, on any device; of a cross-validated trial
            the first fold.
        destination: The folder to make. An earlier export there is replaced, at the very end.
        variants: Smaller ONNX files to write as well.

    Raises:
        ExportError: a format cannot be written or does not reproduce the logged accuracy, or
            `destination` must not be replaced. What stood there is left as it was.
    """
    _require_complete(source, destination)
    with staged(destination) as files:
        config = _write_model(source, files)
        logger.info("export: verification")
        verification = verify_export(files.path, val)
        config = _calibrated(config, verification, source, val)
        if variants:
            logger.info("export: variants")
            config = _with_variants(files, config, verification, val, variants)
        write_verification(files.verification, verification)
        judged = source.out_of_fold.confusion(len(source.classes)) if source.out_of_fold else None
        write_whole(files.card, model_card(config, verification, judged))
        config = write_config(files.config, config)
    return ExportReport(destination, config, verification)


def _require_complete(source: ExportInput, destination: Path) -> None:
    """Raise ExportError, before the long work, for what would make it fail at its end."""
    if ACCURACY not in source.metrics:
        raise ExportError(f"trial {source.trial} has no logged {ACCURACY} to verify an export by; export another trial")
    require_replaceable(destination)


def _write_model(source: ExportInput, files: ExportFolder) -> ExportConfig:
    """Write the network in all formats, and the configuration that describes them."""
    model_files = copy_model_files(source.model_files, files)
    model = load_network(networks_of(source), len(source.classes), source.weights)
    config = describe_export(source, model, model_files, ())
    facts = self_description(config, config.classes)
    write_weights(source.weights, files.weights, facts)
    _write_formats(model, source.config.image_size, files)
    describe_onnx(files.onnx, facts)
    write_label_program(files.label_program, files.picture)
    written = {*files.files(), files.config.name, files.card.name, files.verification.name}
    return write_config(files.config, config.model_copy(update={"files": tuple(sorted(written))}))


def _calibrated(
    config: ExportConfig, verification: Verification, source: ExportInput, val: DeviceImages
) -> ExportConfig:
    """Fit the temperature to what the weights made of the validation split, or networks like them of unseen images."""
    if source.out_of_fold is not None:
        logits, labels = logits_of(source.out_of_fold, len(config.classes)), source.out_of_fold.labels
    else:
        logits, labels = verification.reference.logits.numpy(), val.labels.cpu().numpy()
    calibration = calibrate(logits, labels)
    return config.model_copy(update={"calibration": calibration})


def _with_variants(
    files: ExportFolder, config: ExportConfig, verification: Verification, val: DeviceImages, request: VariantRequest
) -> ExportConfig:
    variants = write_variants(files, Judge(config, val, verification.reference), request)
    kept = [variant.file for variant in variants if variant.kept]
    return config.model_copy(update={"variants": variants, "files": tuple(sorted({*config.files, *kept}))})


def copy_model_files(paths: Sequence[Path], files: ExportFolder) -> tuple[str, ...]:
    """Register model files and copy them; return the copies' names relative to the export."""
    try:
        load_model_files(paths)
    except (ConfigError, OSError) as error:
        raise ExportError(f"the model files of the study cannot be loaded: {error}") from error
    names: list[str] = []
    for path in paths:
        taken = f"{files.model_files.name}/{path.name}" in names
        copy = files.model_files / (f"{len(names)}_{path.name}" if taken else path.name)
        write_whole(copy, path.read_bytes())
        names.append(copy.relative_to(files.path).as_posix())
    return tuple(names)


def _write_formats(model: AnyClassifier, image_size: int, files: ExportFolder) -> None:
    """Trace the network once and write the trace in both formats."""
    way_out = "if the disk is not full, its architecture cannot be recorded for any batch size: export another trial"
    with recording("the network cannot be written as torch.export program and ONNX", way_out):
        logger.info("export: %s", files.program.name)
        program = trace(model, image_size)
        write_program(program, files.program)
        logger.info("export: %s", files.onnx.name)
        write_onnx(program, files.onnx)
