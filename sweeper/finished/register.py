"""From an export to a version in MLflow's model registry."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sweeper.errors import StudyError
from sweeper.export.export_config import ExportConfig, read_config
from sweeper.export.label_program import PICTURE
from sweeper.export.seal import require_as_written
from sweeper.files import file_lock
from sweeper.paths import ExportFolder, Workspace
from sweeper.safeguards.quantity import quantity
from sweeper.study.card import tracking_uri_of
from sweeper.study.claim import identity_here
from sweeper.tracking.mlflow_store import MlflowStore
from sweeper.tracking.model_registry import ModelRegistry, RegisteredVersion, ServableExport
from sweeper.tracking.study_records import Recorded, StudyRecords
from sweeper.tracking.tags import ACCURACY_TAG, DIGEST_TAG, ID_TAG, STUDY_TAG, TRIAL_TAG


def register_export(
    workspace: Workspace, folder: Path, tracking_uri: str | None, name: str | None = None
) -> RegisteredVersion:
    """Register an export under its study's name, or another one, with the alias `best`, as a model of its trial's run.

    Raises ExportError when the folder is not an export, StudyError when its trial has no run there,
    TrackingError when MLflow cannot be reached or has no registry, TrackingRefused where the name is another study's or
    the study another folder's.
    """
    config = read_config(ExportFolder(folder).config)
    lineage = config.lineage
    store = MlflowStore(tracking_uri_of(workspace, lineage.study, tracking_uri), workspace)
    _require_own_records(workspace, store, config)
    run = _run_of(workspace, store, config)
    called = name or lineage.model_name or lineage.study
    model = servable(folder, config)
    with file_lock(workspace.registry_lock, blocking=True):
        return ModelRegistry(store).register(called, run, model, lineage.study_id)


def _require_own_records(workspace: Workspace, store: MlflowStore, config: ExportConfig) -> None:
    """Raise TrackingRefused in a copy of the folder that records the study: `best` is moved by that folder alone."""
    lineage = config.lineage
    identity = identity_here(workspace, lineage.study)
    if identity is not None and identity.id == lineage.study_id:
        StudyRecords(store, Recorded.to_write(lineage.study, identity, lineage.model_name)).require_own_place()


def _run_of(workspace: Workspace, store: MlflowStore, config: ExportConfig) -> str:
    lineage = config.lineage
    recorded = Recorded(lineage.study, lineage.study_id, lineage.model_name, adopted=True)
    records = StudyRecords(store, recorded)
    known = lineage.run_id if lineage.run_id and store.status(lineage.run_id) is not None else None
    run = known or records.find_run(TRIAL_TAG, str(lineage.trial))
    if run is None:
        records.require_not_deleted()
        waits = workspace.study(lineage.study).trial(lineage.trial).path.is_dir()
        way = f"sweeper sync {lineage.study}" if waits else f"sweeper doctor {lineage.study} --fix"
        raise StudyError(
            f"trial {lineage.trial} of {lineage.study} has no MLflow run at {store.shown_uri}; name the right address "
            f"with --tracking-uri, or bring it there: {way}"
        )
    return run


def servable(folder: Path, config: ExportConfig) -> ServableExport:
    """Return what the registry takes from an export."""
    files, lineage = ExportFolder(folder), config.lineage
    weights_beside = [name for name in config.files if name.startswith(f"{files.onnx.name}.")]
    names = (files.config.name, files.onnx.name, *weights_beside, files.card.name)
    for name in names:
        require_as_written(files.inside(name), config.digests.get(name))
    return ServableExport(
        files=[folder / name for name in names],
        picture=PICTURE,  # our own: what an export brings along is not run
        digest=_digest(files),
        classes=len(config.classes),
        image_size=config.stored_size,
        description=_description(config),
        tags={
            STUDY_TAG: lineage.study,
            **({ID_TAG: lineage.study_id} if lineage.study_id else {}),
            TRIAL_TAG: str(lineage.trial),
            DIGEST_TAG: str(lineage.dataset.get("digest", "")),
            ACCURACY_TAG: f"{config.metrics['val/accuracy']:.6f}",
        },
    )


def _description(config: ExportConfig) -> str:
    """Return what the registry's page says of a version, as Markdown."""
    lineage, found = config.lineage, config.expected
    told = (
        f"{config.architecture}, trial {lineage.trial} of the study {lineage.study}: "
        f"{config.metrics['val/accuracy']:.2%} of the {judging(config)} images labelled correctly."
    )
    if found is None or not found.by_accuracy:
        return told
    return (
        f"{told} These images chose it among {quantity(found.trials, 'trial')}. Expected accuracy on new images of the "
        f"same kind: **{found.accuracy:.2%}** (95 % interval {found.low:.2%} to {found.high:.2%})."
    )


def judging(config: ExportConfig) -> str:
    """Say what the images are to a model that its accuracy was measured on."""
    return "cross-validated" if config.cross_validation else "validation"


def _digest(files: ExportFolder) -> str:
    """Name the content of an export: its weights, and how they are used."""
    digest = hashlib.sha256()
    for path in (files.weights, files.config):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
