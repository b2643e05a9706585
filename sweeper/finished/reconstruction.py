"""Finished autoencoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.finished.evaluate_autoencoder import QualityReport, evaluated_autoencoder
from sweeper.finished.task import EvaluationJob, ExportJob

if TYPE_CHECKING:
    from sweeper.export.autoencoder_export import AutoencoderReport


class FinishedReconstruction:
    """Autoencoders: judged by the images they give back, exported as encoder and whole."""

    name = "reconstruction"
    takes_other_images = False
    takes_extras = False
    registered = False

    def evaluate(self, job: EvaluationJob) -> QualityReport:
        return evaluated_autoencoder(job)

    def export(self, job: ExportJob) -> AutoencoderReport:
        from sweeper.data.batches import DeviceImages
        from sweeper.export.autoencoder_export import export_autoencoder

        return export_autoencoder(job.source, DeviceImages(job.images, "val", job.device), job.destination)
