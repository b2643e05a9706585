"""From a finished trial to an export: fetch its weights, rebuild its data, write and check every format."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.errors import StudyError, TrackingError
from sweeper.finished.task import NOTHING_MORE, ExportJob, Extras
from sweeper.finished.tasks import finished_task
from sweeper.paths import Workspace
from sweeper.results import TrialOutcome, TrialRow
from sweeper.scores.expected_accuracy import ExpectedAccuracy
from sweeper.scores.predictions import read_predictions
from sweeper.search.study_store import StudyStore
from sweeper.standings.winner import study_winner
from sweeper.study.artifacts import Kind, TrialArtifacts, fetch_artifacts
from sweeper.study.expected import expected_of_study
from sweeper.study.model_files import require_same_model_files
from sweeper.study.preparation import dataset_name, require_images_of
from sweeper.study.recorded import recorded_as, records_of
from sweeper.study.trained import require_trained

if TYPE_CHECKING:
    from sweeper.data.image_set import ImageSet
    from sweeper.export.autoencoder_export import AutoencoderReport
    from sweeper.export.export import ExportReport
    from sweeper.export.export_input import CrossValidation, ExportInput, Training
    from sweeper.export.merge import Contender

logger = logging.getLogger(__name__)


def export_trial(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    destination: Path,
    tracking_uri: str | None,
    extras: Extras = NOTHING_MORE,
) -> ExportReport | AutoencoderReport:
    """Export a trial and verify the export on the validation split it was chosen by.

    Raises ExportError when a format does not reproduce what was logged, StudyChanged when the
    images have changed since, StudyError when the trial has no weights or its task has no export.
    """
    from sweeper.data.prepare import prepare_images
    from sweeper.modeling.registry import load_model_files
    from sweeper.training.device import current_gpu_kept, device_of_study

    sweep = store.sweep
    task = finished_task(sweep)
    if extras.wanted and not task.takes_extras:
        rule = "--fp16, --int8, --soup and --ensemble are for classifiers; leave them out"
        raise StudyError(f"{sweep.study} is a study of {task.name}: {rule}")
    if extras.merges and sweep.dataset.folds:
        rule = "its networks have seen all images that a soup or an ensemble would be judged by; leave them out"
        raise StudyError(f"{sweep.study} is cross-validated: {rule}")
    if row.config is None:
        raise _unfinished(row, sweep.study)
    require_trained(store)
    require_same_model_files(store, workspace.root)
    load_model_files([workspace.root / file for file in sweep.model_files])
    images = prepare_images(sweep.dataset, row.config.image_size, workspace)
    require_images_of(workspace, store, images.digest, "run a new study on these")
    with tempfile.TemporaryDirectory(prefix="sweeper-export-") as temporary:
        folder = Path(temporary)
        kinds: tuple[Kind, ...] = ("weights", "predictions") if sweep.dataset.folds else ("weights",)
        artifacts = fetch_artifacts(workspace, store, row, folder, tracking_uri, kinds)
        source = _source(workspace, store, row, images, artifacts, tracking_uri)
        leaders = partial(_leaders, workspace, store, source, extras.others, folder, tracking_uri)
        with current_gpu_kept():
            on = device_of_study(sweep.device, sweep.precision)
            return task.export(ExportJob(source, images, on, destination, extras, leaders, folder))


def _source(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    images: ImageSet,
    artifacts: TrialArtifacts,
    tracking_uri: str | None,
) -> ExportInput:
    """Put together what an export is made from. Raises StudyError for a trial without a finished epoch."""
    from sweeper.data.card import describe
    from sweeper.export.export_input import ExportInput

    sweep, recorded, outcome = store.sweep, recorded_as(workspace, store), row.outcome
    if row.config is None or outcome is None or outcome.best_epoch is None or not outcome.has_weights:
        raise _unfinished(row, sweep.study)
    crossed = _cross_validation(outcome, images)
    return ExportInput(
        study=sweep.study,
        study_id=recorded.id,
        model_name=recorded.name,
        trial=row.number,
        config=row.config,
        classes=images.classes,
        weights=artifacts.weights,
        metrics=outcome.best_metrics,
        best_epoch=outcome.refit.epochs if outcome.refit else outcome.best_epoch,
        averaged_epochs=outcome.averaged_epochs,
        dataset=asdict(describe(images, dataset_name(sweep))),
        stored_size=images.image_size,
        resize=sweep.dataset.resize,
        training=_training(outcome, sweep.devices_per_trial),
        model_files=tuple(workspace.root / file for file in sweep.model_files),
        run_id=artifacts.run_id,
        depth=images.depth,
        expected=_expected(workspace, store, row, tracking_uri),
        cross_validation=crossed,
        out_of_fold=read_predictions(artifacts.predictions) if crossed and artifacts.predictions else None,
    )


def _cross_validation(outcome: TrialOutcome, images: ImageSet) -> CrossValidation | None:
    """Return how a cross-validated trial was judged and its weights were made; None of any other."""
    from sweeper.export.export_input import ACCURACY, CrossValidation

    if outcome.refit is None:
        return None
    return CrossValidation(
        folds=len(outcome.folds),
        images=sum(map(len, images.folds)),
        spread=outcome.spread,
        epochs=outcome.refit.epochs,
        seen_accuracy=outcome.refit.metrics[ACCURACY],
    )


def _training(outcome: TrialOutcome, devices: int) -> Training:
    """Return on what a trial was validated."""
    from sweeper.export.export_input import Training

    return Training(
        device=outcome.device,
        precision=outcome.precision,
        on_features=outcome.on_features,
        threads=outcome.threads,
        devices=devices,
    )


def _expected(
    workspace: Workspace, store: StudyStore, row: TrialRow, tracking_uri: str | None
) -> ExpectedAccuracy | None:
    """Return what the best trial reaches on new images; None of any other trial."""
    winner = study_winner(store)
    if winner is None or winner.number != row.number:
        return None
    try:
        return expected_of_study(workspace, store, records_of(workspace, store, tracking_uri))
    except TrackingError as error:  # an export of what lies on disk does without
        logger.warning("the accuracy on new images cannot be estimated: %s", error)
        return None


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
