"""The tasks there are."""

from __future__ import annotations

from sweeper.results import TrialSpec
from sweeper.training.classification import Classification
from sweeper.training.task import Task


def build_task(spec: TrialSpec, classes: tuple[str, ...]) -> Task:
    """Return what the network of a trial is to do."""
    return Classification(classes, spec.config.label_smoothing)
