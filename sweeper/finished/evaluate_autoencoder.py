"""A finished autoencoder on a split: its error, PSNR and SSIM, and a picture of what it makes of some images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config.task import ReconstructionConfig
from sweeper.data.listing import Split
from sweeper.errors import StudyError
from sweeper.files import write_whole
from sweeper.finished.evaluation_files import outputs_of
from sweeper.finished.task import EvaluationJob
from sweeper.paths import EvaluationFolder
from sweeper.results import TrialRow
from sweeper.safeguards.outputs import require_free
from sweeper.training.device import place

if TYPE_CHECKING:
    from sweeper.training.task import Validation


@dataclass(frozen=True)
class QualityReport:
    """What a trial's reconstructions of a split are worth."""

    model: str
    """The study's name."""
    trial: TrialRow
    split: Split
    data: str
    digest: str
    images: int
    validation: Validation

    @property
    def values(self) -> dict[str, float]:
        return self.validation.values

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "trial": self.trial.number,
            "split": self.split,
            "data": self.data,
            "digest": self.digest,
            "images": self.images,
            "metrics": self.values,
        }

    def write(self, files: EvaluationFolder) -> list[Path]:
        """Write all numbers as JSON, and some images above their reconstructions.

        Raises ConfigError where one of them would replace a file that is not ours.
        """
        from sweeper.training.reconstruction import picture

        require_free(outputs_of(files))
        write_whole(files.reconstructions, picture(self.validation.exhibit))
        write_whole(files.scores, json.dumps(self.as_json(), indent=2) + "\n")
        return [files.reconstructions, files.scores]


def evaluated_autoencoder(job: EvaluationJob) -> QualityReport:
    """Evaluate a trial's best epoch on a split, as it was validated. Raises StudyError for another task."""
    from sweeper.data.batches import DeviceImages
    from sweeper.export.load import load_autoencoder
    from sweeper.training.micro_batch import MicroBatches
    from sweeper.training.reconstruction import Reconstruction

    config, device = job.config, job.device
    if not isinstance(job.task, ReconstructionConfig):
        raise StudyError(f"trial {job.row.number} of {job.study} is not an autoencoder; evaluate another study")
    model = load_autoencoder(config, job.weights)
    place(model, device)
    part = DeviceImages(job.images, job.split, device)
    batches = part.eval_batches(config.batch_size, config.image_size, model.mean, model.std)
    validation = Reconstruction(job.task).validate(model, batches, device, MicroBatches(device))
    return QualityReport(job.study, job.row, job.split, job.data, job.images.digest, len(part), validation)
