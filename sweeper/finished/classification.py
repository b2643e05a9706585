"""Finished classifiers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sweeper.finished.evaluate_classifier import SplitReport, evaluated_classifier
from sweeper.finished.task import SOME, EvaluationJob, ExportJob

if TYPE_CHECKING:
    from sweeper.data.image_set import ImageSet
    from sweeper.export.export import ExportReport


class FinishedClassification:
    """Classifiers: a class of every image, an export in every format, the model registry."""

    name = "classification"
    takes_other_images = True
    takes_extras = True
    registered = True

    def evaluate(self, job: EvaluationJob) -> SplitReport:
        from sweeper.export.load import load_classifier

        classifier = load_classifier(job.config, len(job.images.classes), job.weights)
        return evaluated_classifier(
            job.study, job.row, classifier, job.images, job.split, job.data, job.config, job.device
        )

    def export(self, job: ExportJob) -> ExportReport:
        from sweeper.data.batches import DeviceImages
        from sweeper.export.export import export_model
        from sweeper.export.merge import merged
        from sweeper.export.variants import VariantRequest

        source, extras = job.source, job.extras
        val = DeviceImages(job.images, "val", job.device)
        train = DeviceImages(some_of_training(job.images), "train", job.device)
        if extras.merges:
            source = merged(source, job.leaders(), extras.merges, val, train, job.scratch)
        variants = VariantRequest(extras.variants, train, extras.tolerance) if extras.variants else None
        return export_model(source, val, job.destination, variants)


def some_of_training(images: ImageSet) -> ImageSet:
    """Return at most SOME images of the training split, in an order that is chance and always the same."""
    rows = np.random.default_rng(0).permutation(images.splits["train"])[:SOME]
    return replace(images, splits={"train": rows})
