"""From a finished trial to an export: fetch its weights, rebuild its data, write and check every format."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.config.sweep import SweepConfig
from sweeper.config.task import CLASSIFICATION
from sweeper.errors import ExportError, StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.study.artifacts import fetch_artifacts
from sweeper.study.card import read_card
from sweeper.study.preparation import dataset_name

if TYPE_CHECKING:
    from sweeper.data.image_set import ImageSet
    from sweeper.inference.autoencoder_export import AutoencoderReport
    from sweeper.inference.export import ExportReport


def export_trial(
    workspace: Workspace, sweep: SweepConfig, row: TrialRow, destination: Path, tracking_uri: str | None
) -> ExportReport | AutoencoderReport:
    """Export a trial and verify the export on the validation split it was chosen by.

    Raises ExportError when a format does not reproduce what was logged or the images have
    changed since, StudyError when the trial has no weights.
    """
    from sweeper.data.batches import DeviceImages
    from sweeper.data.card import describe
    from sweeper.data.prepare import prepare_images
    from sweeper.inference.autoencoder_export import export_autoencoder
    from sweeper.inference.export import export_model
    from sweeper.inference.source import ExportSource, Training
    from sweeper.modeling.registry import load_model_files
    from sweeper.training.device import resolve_device

    if row.config is None or row.outcome is None or row.outcome.best_epoch is None:
        raise StudyError(f"trial {row.number} of {sweep.study} has not finished an epoch; there is nothing to export")
    load_model_files(sweep.model_files)
    images = prepare_images(sweep.dataset, row.config.image_size, workspace)
    _require_same_images(workspace, sweep, images)
    device = resolve_device(sweep.device, 0)
    with tempfile.TemporaryDirectory(prefix="sweeper-export-") as temporary:
        artifacts = fetch_artifacts(workspace, sweep.study, row, Path(temporary), tracking_uri)
        source = ExportSource(
            study=sweep.study,
            trial=row.number,
            config=row.config,
            classes=images.classes,
            weights=artifacts.weights,
            metrics=row.outcome.best_metrics,
            best_epoch=row.outcome.best_epoch,
            dataset=asdict(describe(images, dataset_name(sweep))),
            stored_size=images.image_size,
            resize=sweep.dataset.resize,
            training=Training(
                device=row.outcome.device, precision=row.outcome.precision, on_features=row.outcome.on_features
            ),
            model_files=tuple(Path(file) for file in sweep.model_files),
            run_id=artifacts.run_id,
        )
        export = export_model if sweep.task.name == CLASSIFICATION.name else export_autoencoder
        return export(source, DeviceImages(images, "val", device), destination)


def _require_same_images(workspace: Workspace, sweep: SweepConfig, images: ImageSet) -> None:
    """Refuse to judge an export by other images than the trial was judged by."""
    card = read_card(workspace.study(sweep.study))
    logged = card.dataset["digest"] if card else images.digest
    if images.digest != logged:
        raise ExportError(
            f"the images of {dataset_name(sweep)} have changed since the study {sweep.study} began "
            f"(digest {images.digest}, then {logged}); an export cannot be checked against other images. "
            "Bring the old images back, or run a new study on these"
        )
