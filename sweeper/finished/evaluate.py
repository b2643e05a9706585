"""Evaluating a finished trial on a split, whatever its task."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.listing import Split
from sweeper.errors import DatasetError, StudyError
from sweeper.finished.task import EvaluationJob, FinishedTask, Report
from sweeper.paths import EvaluationFolder, Workspace
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.standings.trial_names import require_weights
from sweeper.standings.winner import study_winner
from sweeper.study.artifacts import fetch_artifacts
from sweeper.study.model_files import require_same_model_files
from sweeper.study.trained import require_trained

if TYPE_CHECKING:
    import torch

    from sweeper.data.progress import Progress
    from sweeper.finished.evaluated_images import EvaluatedImages
    from sweeper.finished.named_data import NamedData

Evaluated = TypeVar("Evaluated", bound=Report)


def evaluate_trial(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    split: Split,
    task: FinishedTask[Evaluated, object],
    *,
    device: torch.device,
    tracking_uri: str | None,
    progress: Progress | None = None,
) -> Evaluated:
    """Evaluate a trial's best epoch on a split of its study's data set.

    Raises DatasetError when the split is missing, StudyError when the trial has no weights or is of another task.
    """
    from sweeper.finished.evaluated_images import own_images

    config = _require_evaluable(store, row, task, None)
    images = own_images(workspace, store, config, split, takes_others=False, progress=progress)
    return evaluate_on(workspace, store, row, images, task, device=device, tracking_uri=tracking_uri)


def images_for_trial(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    split: Split,
    task: FinishedTask[Report, object],
    *,
    data: NamedData | None,
    tracking_uri: str | None,
    progress: Progress | None = None,
) -> EvaluatedImages:
    """Return the images to evaluate a trial on: a split of its study's, or those at `data`.

    Raises DatasetError when the split is missing or has other classes, StudyError for a trial of another task.
    """
    from sweeper.finished.evaluated_images import named_images, own_images

    config = _require_evaluable(store, row, task, data)
    if data is None:
        return own_images(workspace, store, config, split, takes_others=task.takes_other_images, progress=progress)
    return named_images(workspace, store, row, config, split, data, tracking_uri, progress)


def evaluate_on(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    judged: EvaluatedImages,
    task: FinishedTask[Evaluated, object],
    *,
    device: torch.device,
    tracking_uri: str | None,
) -> Evaluated:
    """Evaluate a trial's best epoch on images that are there already. Raises StudyError when it has no weights."""
    from sweeper.modeling.registry import load_model_files

    sweep, config = store.sweep, _require_evaluable(store, row, task, None)
    load_model_files(sweep.model_files)
    with tempfile.TemporaryDirectory(prefix="sweeper-evaluate-") as folder:
        weights = fetch_artifacts(workspace, store, row, Path(folder), tracking_uri).weights
        return task.evaluate(
            EvaluationJob(
                sweep.study, sweep.task, row, config, weights, judged.images, judged.split, judged.named, device
            )
        )


def _require_evaluable(
    store: StudyStore, row: TrialRow, task: FinishedTask[Report, object], data: NamedData | None
) -> TrialConfig:
    """Return the configuration of a trial. Raises StudyError, and DatasetError for other images where none are taken.

    Before any image is decoded: that may take long.
    """
    sweep, name = store.sweep, f"{store.sweep.study}/{row.number}"
    if sweep.task.name != task.name:
        raise StudyError(f"{name} is a trial of {sweep.task.name}, not of {task.name}; name a study that is")
    if row.config is None:
        raise StudyError(f"trial {row.number} of {sweep.study} has no configuration; evaluate another study")
    if data is not None and not task.takes_other_images:
        raise DatasetError(f"--data names labelled images for a classifier, and {name} is of {task.name}; leave it out")
    require_trained(store)
    require_weights(store, row)
    require_same_model_files(store)
    return row.config


def evaluation_folder(
    workspace: Workspace, store: StudyStore, row: TrialRow, split: Split, data: Path | None = None
) -> EvaluationFolder:
    """Return where the files of an evaluation go by default: those of a trial that is not the winner apart.

    Those on other images than the study's own, at `data`, too.
    """
    winner = study_winner(store)
    number = None if winner and winner.number == row.number else row.number
    return workspace.evaluation(store.sweep.study, split, number, data)
