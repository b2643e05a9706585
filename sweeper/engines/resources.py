"""What the trials of one process have in common: device, images, frozen backbones, and how networks are trained."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cachetools import LRUCache

from sweeper.config.sweep import SweepConfig
from sweeper.engines.packing import DeviceRoom
from sweeper.engines.protocol import OUT_OF_MEMORY_EXIT, WorkerSetup
from sweeper.errors import DeviceError
from sweeper.files import file_lock
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import TrialOutcome, TrialSpec

if TYPE_CHECKING:
    from sweeper.data.image_set import ImageSet
    from sweeper.training.compiling import Compilation
    from sweeper.training.conditions import Conditions
    from sweeper.training.cross_validation import Folds
    from sweeper.training.inputs import TrialData
    from sweeper.training.ranks import Ranks

logger = logging.getLogger(__name__)

KEPT_IMAGE_SETS = 2

Part = int | Literal["whole"] | None
"""Which images a training of a trial has: all but a fold, by its number from 1, all folds, or those of the splits."""


def places(sweep: SweepConfig) -> int:
    """Return over how many devices, or groups of them, this machine's trials are spread."""
    from sweeper.training.device import devices_like

    return max(1, devices_like(sweep.device) // sweep.devices_per_trial)


class Resources:
    """Keeps the device, images and frozen backbones of recent trials between trials.

    With `devices_per_trial` this is the process of one of a trial's devices, its `rank`; they may be on several
    machines. Raises DeviceError where the device is not there or cannot train.
    """

    def __init__(self, sweep: SweepConfig, setup: WorkerSetup, rank: int = 0):
        import torch

        import sweeper.training.trainer  # noqa: F401  # so that a worker that is ready starts trials at once
        from sweeper.data.feature_cache import FeatureCache
        from sweeper.data.image_guard import ImageGuard
        from sweeper.modeling.registry import load_model_files
        from sweeper.training.device import devices_like, open_device
        from sweeper.training.distillation import Teachers
        from sweeper.training.features import FrozenFeatures
        from sweeper.training.memory import drop_when_short, require_working

        self.sweep = sweep
        self._workspace = Workspace(Path(setup.root))
        self._latency = any(goal.metric == "latency_ms" for goal in self.sweep.goals)
        spread = setup.spread
        first, many = (spread.first, spread.here) if spread else (0, sweep.devices_per_trial)
        if setup.threads or many > 1:
            torch.set_num_threads(max(1, (setup.threads or torch.get_num_threads()) // many))
        self._shares_device = setup.workers is None or setup.workers > places(sweep) or sweep.devices_per_trial > 1
        self.device = open_device(sweep.device, setup.device * many + rank - first, sweep.precision)
        if self.device.type != "cpu" and devices_like(sweep.device) < many:
            there = f"{devices_like(sweep.device)} of {self.device.type}"
            asked = f"devices_per_trial: {sweep.devices_per_trial}"
            raise DeviceError(f"{asked} asks for more devices than there are here, {there}")
        load_model_files(sweep.model_files)
        require_working(self.device)
        self._data: LRUCache[tuple[int, Part], TrialData] = LRUCache(KEPT_IMAGE_SETS)
        self._sets: LRUCache[int, ImageSet] = LRUCache(KEPT_IMAGE_SETS)
        self.guard = ImageGuard(StudyFolder(Path(setup.folder)).images, sweep.dataset, self._workspace)
        self.teachers = Teachers(self.device)
        self.features = FrozenFeatures(FeatureCache(self._workspace.features), sweep.features, self.device)
        drop_when_short(self._drop_spare)

    def _drop_spare(self) -> bool:
        """Drop the images of earlier trials and all features, backbones and teachers that are kept for later ones."""
        spare = len(self._data) - 1
        for _ in range(spare):
            self._data.popitem()  # the one that was not used for longest
        dropped = [self.features.drop(), self.teachers.drop(), spare > 0]
        return any(dropped)

    def room(self) -> DeviceRoom:
        """Return what there is on the device for trials."""
        from sweeper.training.device import described, free_memory_mb, process_memory_mb, useful_at_once

        device, others = self.device, self.sweep.devices_per_trial - 1
        name = f"{described(device)} and {others} more for each trial" if others else described(device)
        return DeviceRoom(free_memory_mb(device), process_memory_mb(device), name, useful_at_once(device))

    def folds(self, spec: TrialSpec, ranks: Ranks) -> Folds:
        """Return what a trial is cross-validated on. Raises DatasetError."""
        from sweeper.scores.predictions import image_ids
        from sweeper.training.cross_validation import Folds

        images = self._image_set(spec.config.image_size)
        rows = images.without_validation().splits["train"]
        return Folds(
            number=len(images.folds),
            images=image_ids(images.paths[row] for row in rows) if images.paths else image_ids(()),
            metric=self.sweep.objective.metric,
            without=lambda fold: self.conditions(spec, ranks, fold),
            whole=lambda: self.conditions(spec, ranks, "whole"),
        )

    def conditions(self, spec: TrialSpec, ranks: Ranks, part: Part = None) -> Conditions:
        """Return what the training of a trial, or of a part of it, needs beside it. Raises DatasetError."""
        from sweeper.training.compiling import PLAIN
        from sweeper.training.conditions import Conditions

        return Conditions(
            data=self.images(spec.config.image_size, part),
            objective=self.sweep.objective,
            patience=self.sweep.budget.patience,
            device=self.device,
            limits_file=self._limits_file(spec),
            features=self.features,
            compilation=PLAIN if ranks.several else self._compilation(spec),
            graphs=False if ranks.several else self.sweep.cuda_graphs,
            teachers=self.teachers,
            latency=self._latency,
            ranks=ranks,
        )

    def _limits_file(self, spec: TrialSpec) -> Path | None:
        """Return where it is remembered what fits in memory; nowhere while that depends on other trials."""
        if self._shares_device:
            return None
        from sweeper.training.device import kind_of

        config, device = spec.config, kind_of(self.device)
        return self._workspace.micro_batches(_learning(spec), config.image_size, config.trainable, device)

    def _compilation(self, spec: TrialSpec) -> Compilation:
        from sweeper.training.compiling import Compilation
        from sweeper.training.device import kind_of

        config, device = spec.config, kind_of(self.device)
        kind = (_learning(spec), config.image_size, config.batch_size, config.trainable, device)
        return Compilation(self.sweep.compile, self._workspace.step_times(*kind))

    def images(self, image_size: int, part: Part = None) -> TrialData:
        """Return the images in this size, kept from an earlier trial where possible.

        Raises DatasetError, OtherImages.
        """
        from sweeper.data.batches import DeviceImages
        from sweeper.training.inputs import TrialData
        from sweeper.training.memory import free_memory

        key = self.sweep.dataset.stored_size or image_size, part
        if key not in self._data:
            if len(self._data) >= KEPT_IMAGE_SETS:
                _, oldest = self._data.popitem()  # before the new images need its memory
                self.features.forget(oldest)
                del oldest  # which holds its images on the device
                free_memory(self.device)
            images = _part_of(self._image_set(image_size), part)
            # One worker at a time, since each takes a share of the memory that it finds free.
            with file_lock(self._workspace.device_lock(str(self.device)), blocking=True):
                train, val = (DeviceImages(images, split, self.device) for split in ("train", "val"))
            self._data[key] = TrialData(train, val, images.titles)
        return self._data[key]

    def _image_set(self, image_size: int) -> ImageSet:
        """Return the decoded images, which are mapped into memory. Raises DatasetError, OtherImages."""
        from sweeper.data.prepare import prepare_images

        size = self.sweep.dataset.stored_size or image_size
        if size not in self._sets:
            images = prepare_images(self.sweep.dataset, size, self._workspace)
            self.guard.require(images.digest)
            self._sets[size] = images
        return self._sets[size]

    def require_working(self, outcome: TrialOutcome) -> None:
        """End this process where an error has left it of no use, so that a new one goes on with the trial.

        Otherwise every later trial would fail, and not by its own fault.
        """
        from sweeper.training.memory import free_memory, still_works

        free_memory(self.device)
        if not still_works(self.device):
            logger.error("%s can no longer train in this process; after: %s", self.device, outcome.reason)
            logger.error("the trial goes on in a new worker")
            sys.exit(1 if outcome.feasible else OUT_OF_MEMORY_EXIT)


def _learning(spec: TrialSpec) -> str:
    """Name what goes through a network in each step, for its memory and its time: itself, and perhaps a teacher."""
    backbone = spec.config.backbone
    return backbone if spec.teacher is None else f"{backbone} taught by {spec.teacher.digest[:8]}"


def _part_of(images: ImageSet, part: Part) -> ImageSet:
    if part is None:
        return images
    return images.without_validation() if part == "whole" else images.validating(part)
