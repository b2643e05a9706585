"""One driver for a study: a lock that the kernel frees when its owner dies."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sweeper.errors import StudyLocked
from sweeper.files import AlreadyLocked, file_lock
from sweeper.locks import lock
from sweeper.paths import StudyFolder


def is_running(folder: StudyFolder) -> bool:
    """Return whether a driver holds the study now."""
    if not folder.lock.exists():
        return False
    with folder.lock.open() as file:
        try:
            lock(file.fileno(), blocking=False, shared=True)
        except OSError:
            return True
    return False


@contextmanager
def study_lock(folder: StudyFolder, study: str) -> Iterator[None]:
    """Hold a study. Raises StudyLocked, naming the process that does, when it is held already."""
    owner = f"process {os.getpid()} on {socket.gethostname()}"
    try:
        with file_lock(folder.lock, blocking=False, owner=owner):
            yield
    except AlreadyLocked as error:
        raise StudyLocked(
            f"the study {study} is being run by {error.owner}; wait for it or end it, "
            "or give this search space another `study:` name"
        ) from None
