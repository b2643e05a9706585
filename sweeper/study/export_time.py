"""How long the export of a trial will take on this machine, before one has been made."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
from torch import nn

from sweeper.config.sweep import SweepConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.data.image_set import ImageSet
from sweeper.errors import SweeperError
from sweeper.modeling.autoencoder import build_autoencoder
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.registry import load_model_files
from sweeper.results import TrialSpec
from sweeper.training.device import open_device, place

logger = logging.getLogger(__name__)

WRITING_S = 15.0
"""For writing the files of an export; a small network takes 5 s on an idle machine."""

PASSES = 2.5
"""Over the validation images on the CPU: the weights and the torch.export program, and ONNX Runtime at twice the speed.

On a GPU the weights take next to nothing.
"""

TIMED = 8  # images


class TimedExport:
    """Expects of each kind of network what a forward pass of it takes here on the CPU, where exports are checked.

    Time of this process is measured, not of the clock: trials that run beside it do not run beside the export.

    Args:
        sweep: The study.
        images: Its images; every check of an export goes over those of the validation split.
        root: The folder that model files of the study are named from.
    """

    def __init__(self, sweep: SweepConfig, images: ImageSet, root: Path):
        self._classes = len(images.classes)
        self._images = len(images.splits["val"])
        self._passes = PASSES if sweep.device == "cpu" or not torch.cuda.is_available() else PASSES - 1
        self._model_files = [root / file for file in sweep.model_files]
        self._known: dict[tuple[str, int, str], float] = {}

    def __call__(self, spec: TrialSpec) -> float:
        kind = (spec.config.backbone, spec.config.image_size, spec.config.test_time_augmentation)
        if kind not in self._known:
            self._known[kind] = self._image_s(spec)
        return WRITING_S + self._passes * self._images * self._known[kind]

    def _image_s(self, spec: TrialSpec) -> float:
        """Return the seconds of an image; 0 for a network that cannot be built, which its trial will tell."""
        cpu, side = open_device("cpu", 0), spec.config.image_size
        try:
            load_model_files(self._model_files)
            with torch.random.fork_rng(devices=[]):  # the caller's random numbers are left alone
                network = place(self._built(spec), cpu).eval()
        except SweeperError as error:
            logger.warning("how long an export of %s takes is not known: %s", spec.config.backbone, error)
            return 0.0
        images = torch.zeros(TIMED, 3, side, side).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            network(images)
            began = time.process_time()
            network(images)
            return (time.process_time() - began) / torch.get_num_threads() / TIMED

    def _built(self, spec: TrialSpec) -> nn.Module:
        config = spec.config.model_copy(update={"pretrained": False})
        if isinstance(spec.task, ReconstructionConfig):
            return build_autoencoder(config)
        return build_classifier(config, self._classes)
