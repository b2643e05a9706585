"""One driver for a study: a lock that the kernel frees when its owner dies."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sweeper.errors import StudyLocked
from sweeper.files import AlreadyLocked, file_lock, is_held
from sweeper.paths import StudyFolder

TRIES = 5
BETWEEN_S = 0.03
"""Who asks whether a study is running holds its lock for a moment."""

WHICH = ", which "
"""In what the lock says of its owner: what follows is done in place of running trials."""

CONFIRMS = "trains its best trials again"
EXPORTS = "exports its best trial"


def is_running(folder: StudyFolder) -> bool:
    """Return whether a driver holds the study now."""
    return is_held(folder.lock)


def other_work(folder: StudyFolder) -> str | None:
    """Return who holds the study for other work than to run its trials, and so heeds no requests; None for nobody."""
    if not is_running(folder):
        return None
    try:
        owner = folder.lock.read_text(encoding="utf-8").strip()
    except FileNotFoundError:  # it has been deleted meanwhile
        return None
    return owner if WHICH in owner else None


@contextmanager
def study_lock(folder: StudyFolder, study: str, *, which: str = "") -> Iterator[None]:
    """Hold a study. Raises StudyLocked, naming the process that does, when it is held already.

    `which` says of the process what it does, where it does not run the trials.
    """
    owner = f"process {os.getpid()} on {socket.gethostname()}{WHICH if which else ''}{which}"
    with ExitStack() as held:
        for left in reversed(range(TRIES)):
            try:
                held.enter_context(file_lock(folder.lock, blocking=False, owner=owner))
                break
            except AlreadyLocked as error:
                if not left:
                    raise _locked(study, error.owner) from None
                time.sleep(BETWEEN_S)
        yield


def _locked(study: str, owner: str) -> StudyLocked:
    if WHICH in owner:
        return StudyLocked(f"the study {study} is held by {owner}; wait for it, or press Ctrl-C where it runs")
    return StudyLocked(
        f"the study {study} is being run by {owner}; wait for it or end it, or give this search space another `study:` "
        "name"
    )
