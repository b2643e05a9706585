"""The tasks there are."""

from __future__ import annotations

from sweeper.config.task import ReconstructionConfig
from sweeper.results import TrialSpec
from sweeper.training.classification import Classification
from sweeper.training.reconstruction import Reconstruction
from sweeper.training.task import Task


def build_task(spec: TrialSpec, classes: tuple[str, ...]) -> Task:
    """Return what the network of a trial is to do."""
    if isinstance(spec.task, ReconstructionConfig):
        return Reconstruction(spec.task)
    return Classification(classes, spec.config.label_smoothing)
