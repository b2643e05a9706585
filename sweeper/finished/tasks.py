"""The tasks whose finished trials can be evaluated and exported. Any other task is refused here, never guessed at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError
from sweeper.finished.classification import FinishedClassification
from sweeper.finished.evaluate_autoencoder import QualityReport
from sweeper.finished.evaluate_classifier import SplitReport
from sweeper.finished.reconstruction import FinishedReconstruction
from sweeper.finished.task import FinishedTask

if TYPE_CHECKING:
    from sweeper.export.autoencoder_export import AutoencoderReport
    from sweeper.export.export import ExportReport

CLASSIFIERS = FinishedClassification()

TASKS: dict[str, FinishedTask[SplitReport | QualityReport, ExportReport | AutoencoderReport]] = {
    task.name: task for task in (CLASSIFIERS, FinishedReconstruction())
}


def finished_task(sweep: SweepConfig) -> FinishedTask[SplitReport | QualityReport, ExportReport | AutoencoderReport]:
    """Return what is done with the finished trials of a study. Raises StudyError for a task that is not known here."""
    task = TASKS.get(sweep.task.name)
    if task is None:
        raise StudyError(
            f"the task {sweep.task.name} of the study {sweep.study} cannot be evaluated or exported, only "
            f"{', '.join(TASKS)}; its trials, metrics and weights are in MLflow"
        )
    return task
