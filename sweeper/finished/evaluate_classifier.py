"""A finished model on a split: scores, scores of each class, the confusion matrix, and the record of having looked."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config.dataset import DatasetConfig
from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.listing import Split
from sweeper.errors import DatasetError, StudyError
from sweeper.files import write_whole
from sweeper.finished.classifiers import require_classifiers
from sweeper.finished.evaluation_files import CLASS_COLUMNS, outputs_of
from sweeper.paths import EvaluationFolder, Workspace
from sweeper.results import TrialRow
from sweeper.safeguards.outputs import require_free
from sweeper.safeguards.spreadsheet import table
from sweeper.scores.confusion import write_confusion
from sweeper.scores.metrics import Scores, scores
from sweeper.scores.predictions import Predictions
from sweeper.search.study_store import StudyStore
from sweeper.study.artifacts import fetch_artifacts, find_run
from sweeper.study.model_files import require_same_model_files
from sweeper.study.preparation import dataset_name, require_same_images
from sweeper.study.trained import require_trained
from sweeper.training.device import place

if TYPE_CHECKING:
    import torch

    from sweeper.data.decode_all import Progress
    from sweeper.data.image_set import ImageSet
    from sweeper.modeling.ensemble import AnyClassifier
    from sweeper.training.evaluate import Evaluation


@dataclass(frozen=True)
class SplitReport:
    """What a model scores on one split of a data set."""

    model: str
    """The study's name, or the folder of the export."""
    trial: TrialRow | None
    """None for an export."""
    split: Split
    data: str
    digest: str
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    evaluation: Evaluation
    by_class: Scores
    predictions: Predictions | None = None

    @property
    def images(self) -> int:
        return int(self.by_class.class_support.sum())

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "trial": self.trial.number if self.trial else None,
            "split": self.split,
            "data": self.data,
            "digest": self.digest,
            "images": self.images,
            "metrics": self.evaluation.values,
            "classes": [dict(zip(("class", *CLASS_COLUMNS), row, strict=True)) for row in class_rows(self)],
        }


def class_rows(report: SplitReport) -> list[tuple[str, float, float, float, int]]:
    """Return name, precision, recall, F1 and number of images of every class."""
    found = report.by_class
    numbers = (found.class_precision, found.class_recall, found.class_f1, found.class_support)
    return list(zip(report.classes, *(column.tolist() for column in numbers), strict=True))


def evaluate_trial(
    workspace: Workspace,
    store: StudyStore,
    row: TrialRow,
    split: Split,
    *,
    data: Path | None,
    device: torch.device,
    tracking_uri: str | None,
    progress: Progress | None = None,
) -> SplitReport:
    """Evaluate a trial's best epoch on a split of its study's data set, or of another one.

    Raises DatasetError when the split is missing or has other classes, StudyError when the trial
    has no weights.
    """
    from sweeper.export.load import load_classifier
    from sweeper.modeling.registry import load_model_files

    sweep = store.sweep
    require_classifiers(sweep)
    if row.config is None:
        raise StudyError(f"trial {row.number} of {sweep.study} has no configuration; evaluate another study")
    require_trained(store)
    require_same_model_files(store)
    load_model_files(sweep.model_files)
    images = _images_of_study(workspace, store, row.config, split, data, progress)
    with tempfile.TemporaryDirectory(prefix="sweeper-evaluate-") as folder:
        artifacts = fetch_artifacts(workspace, store, row, Path(folder), tracking_uri)
        classifier = load_classifier(row.config, len(images.classes), artifacts.weights)
    evaluated = _evaluated(classifier, images, split, row.config, device)
    return _report(sweep.study, row, split, str(data or dataset_name(sweep)), images, *evaluated)


def _images_of_study(
    workspace: Workspace,
    store: StudyStore,
    config: TrialConfig,
    split: Split,
    data: Path | None,
    progress: Progress | None,
) -> ImageSet:
    from sweeper.data.other_images import other_images
    from sweeper.data.prepare import prepare_images

    sweep = store.sweep
    images = prepare_images(sweep.dataset, config.image_size, workspace, progress)
    if data is not None:
        told = {"resize", "stored_size", "labels", "missing_labels"}
        other = DatasetConfig(path=str(data), **sweep.dataset.model_dump(include=told))
        return other_images(other, split, images.classes, config.image_size, workspace, images.depth, progress)
    require_same_images(workspace, store, images.digest)
    if split not in images.splits:
        raise DatasetError(
            f"the data set of {sweep.study} has no {split} split, only {', '.join(images.splits)}; name labelled "
            "images that it was not trained on with --data, or set dataset.test_fraction in a new study"
        )
    return images


def evaluate_export(
    workspace: Workspace,
    folder: Path,
    split: Split,
    *,
    data: Path,
    device: torch.device,
    progress: Progress | None = None,
) -> SplitReport:
    """Evaluate an export on a split of a data set. Raises ExportError, and DatasetError as above."""
    from sweeper.data.decode import Depth
    from sweeper.data.other_images import other_images
    from sweeper.export.load import load_export

    export = load_export(folder)
    config = export.config
    dataset = DatasetConfig(path=str(data), resize=config.resize, stored_size=config.stored_size)
    depth = Depth(**config.depth.model_dump())
    images = other_images(dataset, split, config.classes, config.image_size, workspace, depth, progress)
    network = config.network().model_copy(update={"batch_size": config.batch_size})
    evaluated = _evaluated(export.classifier, images, split, network, device)
    return _report(str(folder), None, split, str(data), images, *evaluated)


def _evaluated(
    classifier: AnyClassifier, images: ImageSet, split: Split, config: TrialConfig, device: torch.device
) -> tuple[Evaluation, Predictions | None]:
    """Evaluate as a trial is validated: the same batches, the same precision."""

    from sweeper.data.batches import DeviceImages
    from sweeper.training.evaluate import evaluate

    place(classifier, device)
    placed = DeviceImages(images, split, device)
    batches = placed.eval_batches(config.batch_size, config.image_size, classifier.mean, classifier.std)
    evaluation = evaluate(classifier, batches, classes=len(images.classes), device=device)
    return evaluation, evaluation.top.predictions(placed) if evaluation.top is not None else None


def _report(
    model: str,
    row: TrialRow | None,
    split: Split,
    data: str,
    images: ImageSet,
    evaluation: Evaluation,
    predictions: Predictions | None,
) -> SplitReport:
    return SplitReport(
        model=model,
        trial=row,
        split=split,
        data=data,
        digest=images.digest,
        classes=images.classes,
        titles=images.titles or images.classes,
        evaluation=evaluation,
        by_class=scores(evaluation.confusion),
        predictions=predictions,
    )


def write_report(report: SplitReport, files: EvaluationFolder) -> list[Path]:
    """Write the confusion matrix as CSV and picture, the scores of each class, and all numbers as JSON.

    Raises ConfigError where one of them would replace a file that is not ours.
    """
    from sweeper.tracking.confusion_picture import draw_confusion

    require_free(outputs_of(files))
    write_confusion(files.confusion, report.evaluation.confusion, report.classes)
    draw_confusion(report.evaluation.confusion, report.titles, report.split, files.picture)
    write_whole(files.classes, table([("class", *CLASS_COLUMNS), *class_rows(report)]))
    write_whole(files.scores, json.dumps(report.as_json(), indent=2) + "\n")
    return [files.confusion, files.picture, files.classes, files.scores]


def record_in_mlflow(
    workspace: Workspace,
    store: StudyStore,
    report: SplitReport,
    files: list[Path],
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
    epoch = report.trial.best_epoch or 0
    return record_test_look(mlflow, run, report.evaluation.values, epoch, files, report.digest, now_ms)
