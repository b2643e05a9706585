"""Which studies train classifiers."""

from __future__ import annotations

from sweeper.config.sweep import SweepConfig
from sweeper.config.task import CLASSIFICATION
from sweeper.errors import StudyError


def require_classifiers(sweep: SweepConfig) -> None:
    """Raise StudyError for a study whose networks name no classes."""
    if sweep.task.name != CLASSIFICATION.name:
        raise StudyError(f"the study {sweep.study} reconstructs images and names no classes; name a study that does")
