"""Evaluating a finished trial on a split, whatever its task, and recording that its test split was looked at."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sweeper.config.dataset import DatasetConfig
from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.listing import Split
from sweeper.errors import DatasetError, StudyError
from sweeper.finished.task import EvaluationJob, FinishedTask, Report
from sweeper.paths import EvaluationFolder, Workspace
from sweeper.results import TrialRow
from sweeper.search.study_store import StudyStore
from sweeper.standings.winner import study_winner
from sweeper.study.artifacts import fetch_artifacts, find_run
from sweeper.study.model_files import require_same_model_files
from sweeper.study.preparation import dataset_name, require_images_of
from sweeper.study.trained import require_trained

if TYPE_CHECKING:
    import torch

    from sweeper.data.image_set import ImageSet
    from sweeper.data.progress import Progress

Evaluated = TypeVar("Evaluated", bound=Report)


def evaluate_trial(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    split: Split,
    task: FinishedTask[Evaluated, object],
    *,
    data: Path | None,
    device: torch.device,
    tracking_uri: str | None,
    progress: Progress | None = None,
) -> Evaluated:
    """Evaluate a trial's best epoch on a split of its study's data set, or of another one.

    Raises DatasetError when the split is missing or has other classes, StudyError when the trial
    has no weights or is of another task.
    """
    from sweeper.modeling.registry import load_model_files

    sweep, name = store.sweep, f"{store.sweep.study}/{row.number}"
    if sweep.task.name != task.name:
        raise StudyError(f"{name} is a trial of {sweep.task.name}, not of {task.name}; name a study that is")
    if row.config is None:
        raise StudyError(f"trial {row.number} of {sweep.study} has no configuration; evaluate another study")
    if data is not None and not task.takes_other_images:
        raise DatasetError(f"--data names labelled images for a classifier, and {name} is of {task.name}; leave it out")
    require_trained(store)
    require_same_model_files(store)
    load_model_files(sweep.model_files)
    images = _images(workspace, store, row.config, split, task, data, progress)
    with tempfile.TemporaryDirectory(prefix="sweeper-evaluate-") as folder:
        weights = fetch_artifacts(workspace, store, row, Path(folder), tracking_uri).weights
        named = str(data or dataset_name(sweep))
        return task.evaluate(
            EvaluationJob(sweep.study, sweep.task, row, row.config, weights, images, split, named, device)
        )


def _images(
    workspace: Workspace,
    store: StudyStore,
    config: TrialConfig,
    split: Split,
    task: FinishedTask[Report, object],
    data: Path | None,
    progress: Progress | None,
) -> ImageSet:
    from sweeper.data.other_images import other_images
    from sweeper.data.prepare import prepare_images

    sweep = store.sweep
    images = prepare_images(sweep.dataset, config.image_size, workspace, progress)
    if data is not None:
        kept = {"resize", "stored_size", "labels", "missing_labels"}
        other = DatasetConfig(path=str(data), **sweep.dataset.model_dump(include=kept))
        return other_images(other, split, images.classes, config.image_size, workspace, images.depth, progress)
    if split == "val" and sweep.dataset.folds:
        raise DatasetError(
            f"{sweep.study} is cross-validated, and its weights have seen all images but the test split; "
            "`sweeper best` says what networks reach on images not seen. Name --split test, or other labelled images "
            "with --data"
        )
    elsewhere = "name the new ones with --data" if task.takes_other_images else "run a new study on these"
    require_images_of(workspace, store, images.digest, elsewhere)
    if split not in images.splits:
        ways = "name labelled images that it was not trained on with --data, or " if task.takes_other_images else ""
        raise DatasetError(
            f"the data set of {sweep.study} has no {split} split, only {', '.join(images.splits)}; {ways}"
            "set dataset.test_fraction in a new study"
        )
    return images


def evaluation_folder(workspace: Workspace, store: StudyStore, row: TrialRow, split: Split) -> EvaluationFolder:
    """Return where the files of an evaluation go by default: those of a trial that is not the winner apart."""
    winner = study_winner(store)
    number = None if winner and winner.number == row.number else row.number
    return workspace.evaluation(store.sweep.study, split, number)


def record_look(
    workspace: Workspace,
    store: StudyStore,
    report: Report,
    files: Sequence[Path],
    now_ms: int,
    tracking_uri: str | None,
) -> int:
    """Log a look at the test split to the trial's run; return how often it has been looked at.

    Raises StudyError when the trial has no run, TrackingError when MLflow cannot be reached.
    """
    from sweeper.tracking.test_split_looks import record_test_look

    if report.trial is None:
        raise StudyError(f"{report.model} is an export and has no run of its own; evaluate its study")
    mlflow, run = find_run(workspace, store, report.trial, tracking_uri)
    return record_test_look(mlflow, run, report.values, report.trial.best_epoch or 0, files, report.digest, now_ms)
