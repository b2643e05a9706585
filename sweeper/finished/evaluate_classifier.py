"""A finished model on a split: scores, scores of each class and the confusion matrix."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config.hyperparameters import TrialConfig
from sweeper.data.listing import Split
from sweeper.finished.evaluation_files import CLASS_COLUMNS, write_files
from sweeper.paths import EvaluationFolder
from sweeper.results import TrialRow
from sweeper.safeguards.spreadsheet import table
from sweeper.scores.confusion import confusion_csv
from sweeper.scores.intervals import Interval, accuracy_interval, f1_interval
from sweeper.scores.metrics import Scores, scores
from sweeper.scores.predictions import Predictions
from sweeper.training.device import place

if TYPE_CHECKING:
    import torch

    from sweeper.data.image_set import ImageSet
    from sweeper.export.load import LoadedExport
    from sweeper.finished.evaluated_images import EvaluatedImages
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

    @property
    def values(self) -> dict[str, float]:
        return self.evaluation.values

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % intervals of accuracy and macro F1, low and high end."""
        confusion = self.evaluation.confusion
        return {"accuracy": accuracy_interval(confusion), "f1": f1_interval(confusion)}

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "trial": self.trial.number if self.trial else None,
            "split": self.split,
            "data": self.data,
            "digest": self.digest,
            "images": self.images,
            "metrics": self.values,
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "classes": [dict(zip(("class", *CLASS_COLUMNS), row, strict=True)) for row in class_rows(self)],
        }

    def write(self, files: EvaluationFolder, *, force: bool | None = False) -> list[Path]:
        """Write the confusion matrix as CSV and picture, the scores of each class, and all numbers as JSON.

        Raises ConfigError where one of them would replace a file that is not ours or was edited.
        """
        from sweeper.tracking.confusion_picture import confusion_png

        confusion = self.evaluation.confusion
        contents: dict[Path, bytes | str] = {
            files.confusion: confusion_csv(confusion, self.classes),
            files.picture: confusion_png(confusion, self.titles, self.split),
            files.classes: table([("class", *CLASS_COLUMNS), *class_rows(self)]),
            files.scores: json.dumps(self.as_json(), indent=2) + "\n",
        }
        return write_files(files, contents, force=force)


def class_rows(report: SplitReport) -> list[tuple[str, float, float, float, int]]:
    """Return name, precision, recall, F1 and number of images of every class."""
    found = report.by_class
    numbers = (found.class_precision, found.class_recall, found.class_f1, found.class_support)
    return list(zip(report.classes, *(column.tolist() for column in numbers), strict=True))


def evaluate_export(export: LoadedExport, name: str, judged: EvaluatedImages, *, device: torch.device) -> SplitReport:
    """Evaluate an export, which is called `name`, on images that are labelled with its classes."""
    network = export.config.network().model_copy(update={"batch_size": export.config.batch_size})
    return evaluated_classifier(
        name, None, export.classifier, judged.images, judged.split, judged.named, network, device
    )


def evaluated_classifier(
    model: str,
    row: TrialRow | None,
    classifier: AnyClassifier,
    images: ImageSet,
    split: Split,
    data: str,
    config: TrialConfig,
    device: torch.device,
) -> SplitReport:
    """Evaluate as a trial is validated: the same batches, the same precision; `model` and `data` are their names."""
    from sweeper.data.batches import DeviceImages
    from sweeper.training.evaluate import evaluate

    place(classifier, device)
    placed = DeviceImages(images, split, device)
    batches = placed.eval_batches(config.batch_size, config.image_size, classifier.mean, classifier.std)
    evaluation = evaluate(classifier, batches, classes=len(images.classes), device=device)
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
        predictions=evaluation.top.predictions(placed) if evaluation.top is not None else None,
    )
