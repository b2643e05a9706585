"""A worker process: builds what trials share once, then trains one group of trials after another."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cachetools import LRUCache

from sweeper.child_process import live_with_parent
from sweeper.config.sweep import SweepConfig
from sweeper.credentials import log_without_credentials
from sweeper.engines.packing import DeviceRoom
from sweeper.engines.protocol import (
    CANNOT_START_EXIT,
    OUT_OF_MEMORY_EXIT,
    DevicesSeen,
    DiskTrouble,
    EpochFinished,
    ImagesChanged,
    TrialEnded,
    WorkerReady,
    WorkerSetup,
)
from sweeper.errors import DamagedFile, DatasetError, DeviceError, DiskError, OtherImages
from sweeper.files import file_lock, write_sealed
from sweeper.paths import StudyFolder, TrialFolder, Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState, read_history, read_outcome

if TYPE_CHECKING:
    from sweeper.training.compiling import Compilation
    from sweeper.training.conditions import Conditions
    from sweeper.training.inputs import TrialData

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
PROCESS_NAME = b"sweeper-worker"  # in ps and top, which show 15 letters
OOM_SCORE = "500"  # of 1000: like a process that holds half the machine's memory more than it does
KEPT_IMAGE_SETS = 2
LONGEST_LOG = 10_000_000  # bytes; one more file is kept


def worker_main(connection: Connection, setup: WorkerSetup, log: Path) -> None:
    """Run a worker until the driver says so or is gone."""
    _take_name()
    _die_with_parent()
    _die_before_parent()
    _write_output_to(log)
    try:
        worker = Worker(connection, setup)
    except DeviceError as error:
        print(error, flush=True)  # noqa: T201  # into the log, for the driver to pass on
        sys.exit(CANNOT_START_EXIT)
    connection.send(WorkerReady(worker.room()))
    while (group := connection.recv()) is not None:
        try:
            worker.run(group)
        except DiskError as error:
            connection.send(DiskTrouble(group[0].number, str(error)))
        except OtherImages as error:
            connection.send(ImagesChanged(group[0].number, str(error)))


def _take_name() -> None:
    """Be distinguishable from the process this one is forked from, whose command line it shares."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, PROCESS_NAME)


def _die_with_parent() -> None:
    """End when the driver does: the kernel sees to it, since the process this one is forked from ends with the driver.

    Where it cannot, this process notices by itself, or by the broken pipe.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    live_with_parent()


def _die_before_parent() -> None:
    """Let the kernel, when memory runs out, kill this process and not the driver, which can go on without it."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


def _write_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LONGEST_LOG:
        log.replace(log.with_suffix(".old"))
    file = log.open("a", buffering=1, encoding="utf-8")
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    log_without_credentials(logging.INFO, "%(asctime)s %(name)s: %(message)s")


class Worker:
    """Keeps the device, images and frozen backbones of recent trials between trials."""

    def __init__(self, connection: Connection, setup: WorkerSetup):
        import torch

        import sweeper.training.trainer  # noqa: F401  # so that a worker that is ready starts trials at once
        from sweeper.data.feature_cache import FeatureCache
        from sweeper.data.image_guard import ImageGuard
        from sweeper.modeling.registry import load_model_files
        from sweeper.training.device import devices_like, open_device
        from sweeper.training.features import FrozenFeatures
        from sweeper.training.memory import drop_when_short, require_working

        self._connection = connection
        self._sweep = SweepConfig.model_validate_json(setup.sweep)
        self._workspace = Workspace(Path(setup.root))
        self._study_folder = StudyFolder(Path(setup.folder))
        self._latency = any(goal.metric == "latency_ms" for goal in self._sweep.goals)
        if setup.threads:
            torch.set_num_threads(setup.threads)
        devices = devices_like(self._sweep.device)
        connection.send(DevicesSeen(devices))
        self._shares_device = setup.workers is None or setup.workers > devices
        self._device = open_device(self._sweep.device, setup.device)
        load_model_files(self._sweep.model_files)
        require_working(self._device)
        self._data: LRUCache[int, TrialData] = LRUCache(KEPT_IMAGE_SETS)
        self._guard = ImageGuard(self._study_folder.images, self._sweep.dataset, self._workspace)
        self._features = FrozenFeatures(FeatureCache(self._workspace.features), self._sweep.features, self._device)
        drop_when_short(self._drop_spare)

    def _drop_spare(self) -> bool:
        """Drop the images of earlier trials and all features and backbones that are kept for later ones."""
        spare = len(self._data) - 1
        for _ in range(spare):
            self._data.popitem()  # the one that was not used for longest
        return self._features.drop() or spare > 0

    def room(self) -> DeviceRoom:
        """Return what there is on the device for trials."""
        from sweeper.training.device import described, free_memory_mb, process_memory_mb, useful_at_once

        device = self._device
        return DeviceRoom(free_memory_mb(device), process_memory_mb(device), described(device), useful_at_once(device))

    def run(self, group: Sequence[TrialSpec]) -> None:
        """Train trials, from their checkpoints where there are any; leave their outcomes on disk and report each end.

        What can be trained at once is; where the sweep does not ask for groups, a group is a single trial.
        """
        group = [spec.with_weights() for spec in group]
        self._guard.check()
        with ExitStack() as locks:  # a worker of a dead driver may still be ending
            for spec in group:
                locks.enter_context(file_lock(self._folder(spec).lock, blocking=True))
            for key, stack in self._stacks(group).items():
                ends = self._one_by_one(stack) if isinstance(key, int) else self._train_together(stack)
                for spec, outcome in ends:
                    self._end(spec, outcome)

    def _folder(self, spec: TrialSpec) -> TrialFolder:
        return self._study_folder.trial(spec.number)

    def _stacks(self, group: Sequence[TrialSpec]) -> dict[Hashable, list[TrialSpec]]:
        """Part a group into what is trained at once, in the order of the numbers; a number stands for one alone."""
        stacks: dict[Hashable, list[TrialSpec]] = {}
        for spec in group:
            ended = _ended(self._folder(spec)) is not None
            key = None if ended or self._sweep.features.fuse == 1 else self._stack_key(spec)
            stacks.setdefault(spec.number if key is None else key, []).append(spec)
        return stacks

    def _stack_key(self, spec: TrialSpec) -> Hashable | None:
        from sweeper.training.stack.fused import stack_key

        with suppress(DatasetError):  # the trial itself will report it
            if spec.start is None and self._features.serve(spec.config, self._images(spec.config.image_size)):
                return stack_key(spec.config)
        return None

    def _one_by_one(self, specs: Sequence[TrialSpec]) -> Iterator[tuple[TrialSpec, TrialOutcome]]:
        for spec in specs:
            folder = self._folder(spec)
            ended = _ended(folder)
            yield spec, self._train(spec, folder) if ended is None else self._replay(spec, ended)

    def _end(self, spec: TrialSpec, outcome: TrialOutcome) -> None:
        """Leave the outcome of a trial on disk, or all that one needs which pauses, and report it."""
        from sweeper.training.checkpoint import remove_checkpoints

        folder = self._folder(spec)
        if outcome.state is TrialState.FAILED or not outcome.feasible:
            self._require_a_working_device(outcome)
        if outcome.state is not TrialState.PAUSED:
            write_sealed(folder.outcome, outcome.model_dump_json())
            remove_checkpoints(folder)
        self._connection.send(TrialEnded(spec.number, outcome))

    def _train_together(self, stack: Sequence[TrialSpec]) -> Iterator[tuple[TrialSpec, TrialOutcome]]:
        from sweeper.training.stack.fused import Together, train_together

        together = Together(**vars(self._conditions(stack[0])), report=self._report)
        return train_together([(spec, self._folder(spec)) for spec in stack], together)

    def _train(self, spec: TrialSpec, folder: TrialFolder) -> TrialOutcome:
        from sweeper.training.trainer import train

        try:
            return train(spec, folder, self._conditions(spec), partial(self._report, spec.number))
        except (ConnectionError, DiskError, OtherImages):
            raise  # the driver is gone, the disk is full, or the images have changed; the trial is not at fault
        except Exception as error:
            logger.exception("trial %d failed", spec.number)
            return TrialOutcome(state=TrialState.FAILED, reason=f"{type(error).__name__}: {error}")

    def _conditions(self, spec: TrialSpec) -> Conditions:
        from sweeper.training.conditions import Conditions

        return Conditions(
            data=self._images(spec.config.image_size),
            objective=self._sweep.objective,
            patience=self._sweep.budget.patience,
            device=self._device,
            limits_file=self._limits_file(spec),
            features=self._features,
            compilation=self._compilation(spec),
            graphs=self._sweep.cuda_graphs,
            latency=self._latency,
        )

    def _limits_file(self, spec: TrialSpec) -> Path | None:
        """Return where it is remembered what fits in memory; nowhere while that depends on other trials."""
        if self._shares_device:
            return None
        from sweeper.training.device import device_name

        config, device = spec.config, device_name(self._device)
        return self._workspace.micro_batches(config.backbone, config.image_size, config.trainable, device)

    def _compilation(self, spec: TrialSpec) -> Compilation:
        from sweeper.training.compiling import Compilation
        from sweeper.training.device import device_name

        config, device = spec.config, device_name(self._device)
        kind = (config.backbone, config.image_size, config.batch_size, config.trainable, device)
        return Compilation(self._sweep.compile, self._workspace.step_times(*kind))

    def _require_a_working_device(self, outcome: TrialOutcome) -> None:
        """End this process where an error has left it of no use, so that a new one goes on with the trial.

        Otherwise every later trial would fail, and not by its own fault.
        """
        from sweeper.training.memory import free_memory, still_works

        free_memory(self._device)
        if not still_works(self._device):
            logger.error("%s can no longer train in this process; after: %s", self._device, outcome.reason)
            logger.error("the trial goes on in a new worker")
            sys.exit(1 if outcome.feasible else OUT_OF_MEMORY_EXIT)

    def _images(self, image_size: int) -> TrialData:
        """Return the images in this size, kept from an earlier trial where possible."""
        from sweeper.data.batches import DeviceImages
        from sweeper.data.prepare import prepare_images
        from sweeper.training.inputs import TrialData

        size = self._sweep.dataset.stored_size or image_size
        if size not in self._data:
            if len(self._data) >= KEPT_IMAGE_SETS:
                self._data.popitem()  # before the new images need its memory
            images = prepare_images(self._sweep.dataset, size, self._workspace)
            self._guard.require(images.digest)
            # One worker at a time, since each takes a share of the memory that it finds free.
            with file_lock(self._workspace.device_lock(str(self._device)), blocking=True):
                train, val = (DeviceImages(images, split, self._device) for split in ("train", "val"))
            self._data[size] = TrialData(train, val, images.titles)
        return self._data[size]

    def _report(self, number: int, metrics: EpochMetrics) -> bool:
        self._connection.send(EpochFinished(number, metrics))
        return bool(self._connection.recv())

    def _replay(self, spec: TrialSpec, ended: Ended) -> TrialOutcome:
        """Report an outcome again that the driver did not live to record."""
        for metrics in ended.history:
            self._report(spec.number, metrics)
        return ended.outcome


class Ended(NamedTuple):
    """What a trial has left that has ended."""

    outcome: TrialOutcome
    history: list[EpochMetrics]


def _ended(folder: TrialFolder) -> Ended | None:
    """Return what a trial has left that has ended, or None for one that is to be trained, since it is damaged too."""
    if not folder.outcome.exists():
        return None
    try:
        return Ended(read_outcome(folder.outcome), read_history(folder.history))
    except DamagedFile as error:
        logger.warning("%s; trial %d is trained again", error, folder.number)
        folder.outcome.unlink()
        return None
