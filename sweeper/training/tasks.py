"""The tasks there are."""

from __future__ import annotations

from typing import assert_never

import torch

from sweeper.config.task import ClassificationConfig, ReconstructionConfig
from sweeper.results import TrialSpec
from sweeper.training.classification import Classification
from sweeper.training.inputs import TrialData
from sweeper.training.loss import build_loss
from sweeper.training.reconstruction import Reconstruction
from sweeper.training.task import Task


def build_task(spec: TrialSpec, data: TrialData, device: torch.device) -> Task:
    """Return what the network of a trial is to do."""
    match spec.task:
        case ClassificationConfig():
            loss = build_loss(spec.config, data.train.host_labels, len(data.classes), device)
            return Classification(data.classes, loss)
        case ReconstructionConfig():
            return Reconstruction(spec.task)
        case _:
            assert_never(spec.task)
