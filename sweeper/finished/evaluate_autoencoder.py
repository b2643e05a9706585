"""A finished autoencoder on a split: its error, PSNR and SSIM, and a picture of what it makes of some images."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config.task import ReconstructionConfig
from sweeper.data.listing import Split
from sweeper.errors import DatasetError, StudyError
from sweeper.files import write_whole
from sweeper.finished.evaluation_files import outputs_of
from sweeper.paths import EvaluationFolder, Workspace
from sweeper.results import TrialRow
from sweeper.safeguards.outputs import require_free
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import fetch_artifacts, find_run
from sweeper.study.model_files import require_same_model_files
from sweeper.study.preparation import dataset_name, require_same_images
from sweeper.study.trained import require_trained
from sweeper.training.device import place

if TYPE_CHECKING:
    import torch

    from sweeper.data.decode_all import Progress
    from sweeper.training.task import Validation


@dataclass(frozen=True)
class QualityReport:
    """What a trial's reconstructions of a split are worth."""

    study: str
    trial: TrialRow
    split: Split
    data: str
    digest: str
    images: int
    validation: Validation

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.study,
            "trial": self.trial.number,
            "split": self.split,
            "data": self.data,
            "digest": self.digest,
            "images": self.images,
            "metrics": self.validation.values,
        }


def evaluate_autoencoder(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    split: Split,
    *,
    device: torch.device,
    tracking_uri: str | None,
    progress: Progress | None = None,
) -> QualityReport:
    """Evaluate a trial's best epoch on a split of its study's data set, as it was validated.

    Raises DatasetError when the split is missing, StudyError when the trial has no weights.
    """

    from sweeper.data.batches import DeviceImages
    from sweeper.data.prepare import prepare_images
    from sweeper.export.load import load_autoencoder
    from sweeper.modeling.registry import load_model_files
    from sweeper.training.micro_batch import MicroBatches
    from sweeper.training.reconstruction import Reconstruction

    sweep = store.sweep
    config, task = row.config, sweep.task
    if config is None or not isinstance(task, ReconstructionConfig):
        raise StudyError(f"trial {row.number} of {sweep.study} is not an autoencoder; evaluate another study")
    require_trained(store)
    require_same_model_files(store)
    load_model_files(sweep.model_files)
    images = prepare_images(sweep.dataset, config.image_size, workspace, progress)
    require_same_images(workspace, store, images.digest)
    if split not in images.splits:
        raise DatasetError(f"the data set of {sweep.study} has no {split} split, only {', '.join(images.splits)}")
    with tempfile.TemporaryDirectory(prefix="sweeper-evaluate-") as folder:
        artifacts = fetch_artifacts(workspace, store, row, Path(folder), tracking_uri)
        model = load_autoencoder(config, artifacts.weights)
    place(model, device)
    part = DeviceImages(images, split, device)
    batches = part.eval_batches(config.batch_size, config.image_size, model.mean, model.std)
    validation = Reconstruction(task).validate(model, batches, device, MicroBatches(device))
    return QualityReport(sweep.study, row, split, dataset_name(sweep), images.digest, len(part), validation)


def write_quality(report: QualityReport, files: EvaluationFolder) -> list[Path]:
    """Write all numbers as JSON, and some images above their reconstructions.

    Raises ConfigError where one of them would replace a file that is not ours.
    """
    from sweeper.training.reconstruction import picture

    require_free(outputs_of(files))
    write_whole(files.reconstructions, picture(report.validation.exhibit))
    write_whole(files.scores, json.dumps(report.as_json(), indent=2) + "\n")
    return [files.reconstructions, files.scores]


def record_quality(
    workspace: Workspace,
    store: StudyStore,
    report: QualityReport,
    files: list[Path],
    now_ms: int,
    tracking_uri: str | None,
) -> int:
    """Log a look at the test split to the trial's run; return how often it has been looked at.

    Raises StudyError when the trial has no run, TrackingError when MLflow cannot be reached.
    """
    from sweeper.tracking.test_split_looks import record_test_look

    mlflow, run = find_run(workspace, store, report.trial, tracking_uri)
    epoch = report.trial.best_epoch or 0
    return record_test_look(mlflow, run, report.validation.values, epoch, files, report.digest, now_ms)
