"""From a finished trial to an export: fetch its weights, rebuild its data, write and check every format."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeper.config.task import ReconstructionConfig
from sweeper.errors import ExportError, StudyError
from sweeper.paths import Workspace
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import TrialArtifacts, fetch_artifacts
from sweeper.study.card import read_card
from sweeper.study.model_files import require_same_model_files
from sweeper.study.preparation import dataset_name
from sweeper.study.recorded import own_folder, recorded_as
from sweeper.study.trained import require_trained

if TYPE_CHECKING:
    from sweeper.data.image_set import ImageSet
    from sweeper.export.autoencoder_export import AutoencoderReport
    from sweeper.export.export import ExportReport
    from sweeper.export.export_input import ExportInput, MergeKind
    from sweeper.export.merge import Contender
    from sweeper.export.quantize import VariantKind

logger = logging.getLogger(__name__)

SOME = 2048
"""Training images that are enough to find ranges of activations, and batch statistics, by."""


@dataclass(frozen=True)
class Extras:
    """What an export holds beside the winner in full precision."""

    variants: tuple[VariantKind, ...] = ()
    tolerance: float = 0.01
    """Most accuracy that a variant may lose."""
    merges: tuple[MergeKind, ...] = ()
    others: tuple[TrialRow, ...] = ()
    """The trials behind the winner, best first, that may be merged with it."""


def export_trial(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    destination: Path,
    tracking_uri: str | None,
    extras: Extras = Extras(),
) -> ExportReport | AutoencoderReport:
    """Export a trial and verify the export on the validation split it was chosen by.

    Raises ExportError when a format does not reproduce what was logged or the images have
    changed since, StudyError when the trial has no weights.
    """
    from sweeper.data.batches import DeviceImages
    from sweeper.data.prepare import prepare_images
    from sweeper.export.autoencoder_export import export_autoencoder
    from sweeper.export.export import export_model
    from sweeper.export.merge import merged
    from sweeper.export.variants import VariantRequest
    from sweeper.modeling.registry import load_model_files
    from sweeper.training.device import open_device

    sweep = store.sweep
    if row.config is None:
        raise _unfinished(row, sweep.study)
    require_trained(store)
    require_same_model_files(store)
    load_model_files(sweep.model_files)
    images = prepare_images(sweep.dataset, row.config.image_size, workspace)
    _require_same_images(workspace, store, images)
    device = open_device(sweep.device, 0)
    with tempfile.TemporaryDirectory(prefix="sweeper-export-") as temporary:
        folder = Path(temporary)
        artifacts = fetch_artifacts(workspace, store, row, folder, tracking_uri)
        source = _source(workspace, store, row, images, artifacts)
        if isinstance(sweep.task, ReconstructionConfig):
            return export_autoencoder(source, DeviceImages(images, "val", device), destination)
        val, train = DeviceImages(images, "val", device), DeviceImages(some_of_training(images), "train", device)
        if extras.merges:
            leaders = _leaders(workspace, store, source, extras.others, folder, tracking_uri)
            source = merged(source, leaders, extras.merges, val, train, folder)
        variants = VariantRequest(extras.variants, train, extras.tolerance) if extras.variants else None
        return export_model(source, val, destination, variants)


def _source(
    workspace: Workspace, store: StudyStore, row: TrialRow, images: ImageSet, artifacts: TrialArtifacts
) -> ExportInput:
    """Put together what an export is made from. Raises StudyError for a trial without a finished epoch."""
    from sweeper.data.card import describe
    from sweeper.export.export_input import ExportInput, Training

    sweep, recorded, outcome = store.sweep, recorded_as(workspace, store), row.outcome
    if row.config is None or outcome is None or outcome.best_epoch is None:
        raise _unfinished(row, sweep.study)
    return ExportInput(
        study=sweep.study,
        study_id=recorded.id,
        model_name=recorded.name,
        trial=row.number,
        config=row.config,
        classes=images.classes,
        weights=artifacts.weights,
        metrics=outcome.best_metrics,
        best_epoch=outcome.best_epoch,
        dataset=asdict(describe(images, dataset_name(sweep))),
        stored_size=images.image_size,
        resize=sweep.dataset.resize,
        training=Training(device=outcome.device, precision=outcome.precision, on_features=outcome.on_features),
        model_files=tuple(Path(file) for file in sweep.model_files),
        run_id=artifacts.run_id,
        depth=images.depth,
    )


def _unfinished(row: TrialRow, study: str) -> StudyError:
    return StudyError(f"trial {row.number} of {study} has not finished an epoch; there is nothing to export")


def _leaders(
    workspace: Workspace,
    store: StudyStore,
    winner: ExportInput,
    others: Sequence[TrialRow],
    folder: Path,
    tracking_uri: str | None,
) -> list[Contender]:
    """Return the winner and the trials behind it, with their weights; those without weights are left out."""
    from sweeper.export.merge import Contender

    leaders = [Contender(winner.trial, winner.config, winner.weights, winner.run_id)]
    for row in others:
        try:
            found = fetch_artifacts(workspace, store, row, folder / f"trial-{row.number}", tracking_uri)
            weights = found.weights
        except StudyError as error:
            logger.warning("trial %d is left out: %s", row.number, error)
            continue
        if row.config is not None:
            leaders.append(Contender(row.number, row.config, weights, found.run_id))
    return leaders


def some_of_training(images: ImageSet) -> ImageSet:
    """Return at most SOME images of the training split, in an order that is chance and always the same."""
    rows = np.random.default_rng(0).permutation(images.splits["train"])[:SOME]
    return replace(images, splits={"train": rows})


def _require_same_images(workspace: Workspace, store: StudyStore, images: ImageSet) -> None:
    """Refuse to judge an export by other images than the trial was judged by."""
    sweep, card = store.sweep, read_card(own_folder(workspace, store))
    logged = card.dataset["digest"] if card else images.digest
    if images.digest != logged:
        raise ExportError(
            f"the images of {dataset_name(sweep)} have changed since the study {sweep.study} began "
            f"(digest {images.digest}, then {logged}); an export cannot be checked against other images. "
            "Bring the old images back, or run a new study on these"
        )
