"""One driver for a study: a lock that the kernel frees when its owner dies."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sweeper.errors import StudyLocked
from sweeper.files import AlreadyLocked, file_lock
from sweeper.locks import lock
from sweeper.paths import StudyFolder

TRIES = 5
BETWEEN_S = 0.03
"""Who asks whether a study is running holds its lock for a moment."""


def is_running(folder: StudyFolder) -> bool:
    """Return whether a driver holds the study now."""
    try:
        file = folder.lock.open()
    except FileNotFoundError:
        return False
    with file:
        try:
            lock(file.fileno(), blocking=False, shared=True)
        except OSError:
            return True
    return False


@contextmanager
def study_lock(folder: StudyFolder, study: str) -> Iterator[None]:
    """Hold a study. Raises StudyLocked, naming the process that does, when it is held already."""
    owner = f"process {os.getpid()} on {socket.gethostname()}"
    with ExitStack() as held:
        for left in reversed(range(TRIES)):
            try:
                held.enter_context(file_lock(folder.lock, blocking=False, owner=owner))
                break
            except AlreadyLocked as error:
                if not left:
                    raise StudyLocked(
                        f"the study {study} is being run by {error.owner}; wait for it or end it, "
                        "or give this search space another `study:` name"
                    ) from None
                time.sleep(BETWEEN_S)
        yield
