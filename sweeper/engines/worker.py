"""A worker process: builds what trials share once, then trains one group of trials after another."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from sweeper.child_process import behave_as_child
from sweeper.config.sweep import SweepConfig
from sweeper.credentials import log_without_credentials
from sweeper.engines.other_ranks import OtherRanks
from sweeper.engines.protocol import (
    CANNOT_START_EXIT,
    AtWork,
    DevicesSeen,
    DiskTrouble,
    EpochFinished,
    Event,
    FoldAhead,
    FoldLeft,
    ImagesChanged,
    TrialEnded,
    WorkerReady,
    WorkerSetup,
)
from sweeper.engines.reason import print_reason
from sweeper.engines.resources import Resources, places
from sweeper.errors import DamagedFile, DatasetError, DeviceError, DiskError, OtherImages
from sweeper.files import file_lock, write_sealed
from sweeper.paths import StudyFolder, TrialFolder
from sweeper.results import EpochMetrics, TrialOutcome, TrialSpec, TrialState, read_history, read_outcome
from sweeper.training.host_allocator import give_back_freed_memory

if TYPE_CHECKING:
    from sweeper.training.ranks import Ranks

logger = logging.getLogger(__name__)

PROCESS_NAME = b"sweeper-worker"  # in ps and top, which show 15 letters
SIGN_S = 1.0
"""At least between two signs of life."""

LONGEST_LOG = 10_000_000  # bytes; one more file is kept


def worker_main(connection: Connection, setup: WorkerSetup, log: Path) -> None:
    """Run a worker until the driver says so or is gone."""
    behave_as_child(PROCESS_NAME)
    _write_output_to(log)
    try:
        worker = Worker(connection, setup)
    except DeviceError as error:
        print_reason(str(error))
        sys.exit(CANNOT_START_EXIT)
    while (group := connection.recv()) is not None:
        if isinstance(group, FoldAhead):
            worker.train_ahead(group)
            continue
        try:
            worker.run(group)
        except DiskError as error:
            connection.send(DiskTrouble(group[0].number, str(error)))
        except OtherImages as error:
            connection.send(ImagesChanged(group[0].number, str(error)))
    worker.close()


def _write_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LONGEST_LOG:
        log.replace(log.with_suffix(".old"))
    file = log.open("a", buffering=1, encoding="utf-8")
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    log_without_credentials(logging.INFO, "%(asctime)s %(name)s: %(message)s")


class Worker:
    """Trains groups of trials, and says so over a connection."""

    def __init__(self, connection: Connection, setup: WorkerSetup):
        self._connection = connection
        self._sending = Lock()
        self._open: set[int] = set()
        self._signed_at = 0.0
        self._study_folder = StudyFolder(Path(setup.folder))
        sweep = SweepConfig.model_validate_json(setup.sweep)
        connection.send(DevicesSeen(places(sweep)))  # before this one proves to be of no use
        self._resources = Resources(sweep, setup)
        self._others = OtherRanks(setup, sweep.devices_per_trial, self._resources.device, connection.send)
        connection.send(WorkerReady(self._resources.room()))

    def run(self, group: Sequence[TrialSpec]) -> None:
        """Train trials, from their checkpoints where there are any; leave their outcomes on disk and report each end.

        What can be trained at once is; where the sweep does not ask for groups, a group is a single trial.
        """
        group = [spec.with_weights() for spec in group]
        self._resources.guard.check()
        self._open = {spec.number for spec in group}
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
            key = None if ended or self._resources.sweep.features.fuse == 1 else self._stack_key(spec)
            stacks.setdefault(spec.number if key is None else key, []).append(spec)
        return stacks

    def _stack_key(self, spec: TrialSpec) -> Hashable | None:
        from sweeper.training.stack.fused import stack_key

        if spec.memory_kills:  # it may have been for the others beside it
            return None
        with suppress(DatasetError):  # the trial itself will report it
            images = self._resources.images(spec.config.image_size)
            if spec.start is None and self._resources.features.serve(spec.config, images):
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
            self._resources.require_working(outcome)
        if outcome.state is not TrialState.PAUSED:
            write_sealed(folder.outcome, outcome.model_dump_json())
            remove_checkpoints(folder)
        give_back_freed_memory()
        self._open.discard(spec.number)
        self._send(TrialEnded(spec.number, outcome))

    def _train_together(self, stack: Sequence[TrialSpec]) -> Iterator[tuple[TrialSpec, TrialOutcome]]:
        from sweeper.training.stack.fused import Together, train_together

        conditions = self._resources.conditions(stack[0], self._others.ranks)
        together = Together(**vars(conditions), report=self._report)
        with self._resources.features.telling(self._at_work):
            yield from train_together([(spec, self._folder(spec)) for spec in stack], together)

    def _train(self, spec: TrialSpec, folder: TrialFolder) -> TrialOutcome:
        from sweeper.training.cross_validation import cross_validate
        from sweeper.training.trainer import outcome_of, train

        report = partial(self._report, spec.number)

        def here(ranks: Ranks) -> TrialOutcome:
            if self._resources.sweep.dataset.folds:
                folds = replace(self._resources.folds(spec, ranks), at_work=self._at_work)
                return cross_validate(spec, folder, folds, report)
            conditions = replace(self._resources.conditions(spec, ranks), at_work=self._at_work)
            return train(spec, folder, conditions, report)

        with self._resources.features.telling(self._at_work):
            return outcome_of(spec, lambda: self._others.train(spec, here))

    def train_ahead(self, part: FoldAhead) -> None:
        """Train a fold of another worker's trial. If that fails, that worker trains it and reports what is wrong."""
        from sweeper.training.cross_validation import train_fold

        spec, outcome = part.trial.with_weights(), None
        try:
            self._resources.guard.check()
            folds = self._resources.folds(spec, self._others.ranks)
            outcome = train_fold(spec, self._folder(spec), folds, part.fold)
        except Exception:
            logger.exception(
                "fold %d of trial %d failed here; the worker of the trial will train it", part.fold, spec.number
            )
        if outcome is not None and outcome.best_epoch is None:
            self._resources.require_working(outcome)
        self._send(FoldLeft(part.trial.number, part.fold))

    def close(self) -> None:
        """End the processes that trials have beside this one."""
        self._others.close()

    def _report(self, number: int, metrics: EpochMetrics) -> bool:
        self._send(EpochFinished(number, metrics))
        return bool(self._connection.recv())

    def _at_work(self) -> None:
        """Give a sign of life, now and then, by a trial that has not ended. A driver that is gone needs none."""
        now = time.monotonic()
        if now - self._signed_at >= SIGN_S and self._open:
            self._signed_at = now
            with suppress(ConnectionError):
                self._send(AtWork(min(self._open)))

    def _send(self, event: Event | FoldLeft) -> None:
        """Send one event whole: an epoch is reported by a thread of its own."""
        with self._sending:
            self._connection.send(event)

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
