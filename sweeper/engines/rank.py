"""The process of a further device of a trial: trains what the first rank trains, and writes and reports nothing."""

from __future__ import annotations

import logging
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from sweeper.child_process import behave_as_child
from sweeper.config.sweep import SweepConfig
from sweeper.credentials import log_without_credentials
from sweeper.engines.protocol import CANNOT_START_EXIT, OUT_OF_MEMORY_EXIT, RANK_LOST_EXIT
from sweeper.engines.rank_process import RankFailed, RankSetup
from sweeper.engines.reason import print_reason
from sweeper.engines.resources import Resources
from sweeper.errors import DeviceError, RankLost, kind_and_message
from sweeper.paths import StudyFolder
from sweeper.results import TrialSpec, TrialState

if TYPE_CHECKING:
    from sweeper.training.ranks import Ranks

logger = logging.getLogger(__name__)

PROCESS_NAME = b"sweeper-rank"


def rank_main(connection: Connection, worker: int) -> None:
    """Train what the worker trains, until it says to end or is gone.

    `worker` is the number of the process that has started this one: the worker's, or on another machine than the
    worker's the one that stands for it there.
    """
    from sweeper.training.ranks import LOOPBACK, join, store_at

    behave_as_child(PROCESS_NAME)
    if os.getppid() != worker:
        return  # it was gone before the kernel knew that this one is to end with it
    log_without_credentials(logging.INFO, "%(asctime)s %(name)s: %(message)s")
    setup: RankSetup = connection.recv()
    sweep = SweepConfig.model_validate_json(setup.worker.sweep)
    try:
        resources = Resources(sweep, setup.worker, setup.rank)
    except DeviceError as error:
        print_reason(str(error))
        sys.exit(CANNOT_START_EXIT)
    spread = setup.worker.spread
    address = spread.address if spread else LOOPBACK
    try:
        store = store_at(setup.meeting.host, setup.meeting.port)
        ranks = join(setup.rank, sweep.devices_per_trial, resources.device, store, address)
    except RankLost as error:
        _leave(error)
    folder = StudyFolder(Path(setup.worker.folder))
    while (spec := connection.recv()) is not None:
        if (failed := _train(spec, folder, resources, ranks)) is not None:
            connection.send(failed)


def _train(spec: TrialSpec, folder: StudyFolder, resources: Resources, ranks: Ranks) -> RankFailed | None:
    """Train a trial together with the first rank; return a failure that the first rank may not know of."""
    from sweeper.training.trainer import train

    try:
        outcome = train(spec, folder.trial(spec.number), resources.conditions(spec, ranks), lambda _: False)
    except RankLost as error:
        _leave(error)
    except Exception as error:
        logger.exception("trial %d failed on device %d of it", spec.number, ranks.rank + 1)
        return RankFailed(kind_and_message(error), for_memory=False)
    if outcome.state is TrialState.FAILED or not outcome.feasible:
        return RankFailed(outcome.reason or "it failed", for_memory=not outcome.feasible)
    return None


def _leave(error: RankLost) -> NoReturn:
    """End at once: leaving the others in order may take forever."""
    print_reason(str(error))
    os._exit(OUT_OF_MEMORY_EXIT if error.for_memory else RANK_LOST_EXIT)


if __name__ == "__main__":
    handle, worker = map(int, sys.argv[1:])
    try:
        rank_main(Connection(handle), worker)
    except (EOFError, ConnectionError):
        os._exit(1)  # the worker is gone
