"""What a training needs beside its trial, which most trials of a worker have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from sweeper.config.sweep import CudaGraphs, ObjectiveConfig
from sweeper.training.compiling import PLAIN, Compilation
from sweeper.training.distillation import Teachers
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Conditions:
    """Images and device, what judges an epoch, and how the device is used.

    Attributes:
        patience: Epochs without improvement of the objective after which a trial stops; None for never.
        limits_file: Remembers for later trials how many images fit in memory at once; None to remember nothing.
        features: Has what frozen backbones make of the images; None to compute it in every epoch.
        compilation: Whether the network is compiled.
        graphs: Whether training steps are recorded as CUDA graphs.
        teachers: Has the networks that trials learn from; None to load that of each trial.
        latency: Measure at the end of a trial how long its network takes for one image.
        ranks: The processes that train the trial together, each with its own conditions.
        at_work: Called now and then while a trial works for long without an epoch to report.
    """

    data: TrialData
    objective: ObjectiveConfig
    patience: int | None
    device: torch.device
    limits_file: Path | None = None
    features: FrozenFeatures | None = None
    compilation: Compilation = PLAIN
    graphs: CudaGraphs = "auto"
    teachers: Teachers | None = None
    latency: bool = False
    ranks: Ranks = ALONE
    at_work: Callable[[], None] = lambda: None
