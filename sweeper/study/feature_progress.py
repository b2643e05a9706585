"""How far the features of a frozen backbone have come that a worker computes: by the file that it is writing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from sweeper.paths import Workspace

LOOK_S = 1.0
STILL_S = 300.0
"""A file that has not grown for this long is left from a worker that was killed."""


def features_underway(folder: Path) -> tuple[int, int] | None:
    """Return how many rows of features are written, and how many there will be; None where none are being written."""
    now = time.time()
    found = [read for path in folder.glob("*.npy.part") if (read := _rows(path, now)) is not None]
    return (sum(done for done, _ in found), sum(total for _, total in found)) if found else None


def _rows(path: Path, now: float) -> tuple[int, int] | None:
    try:
        status = path.stat()
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            written = status.st_size - file.tell()
    except (OSError, ValueError):  # it has just begun, or has just been finished
        return None
    if now - status.st_mtime > STILL_S or len(shape) != 2:
        return None
    return min(written // (shape[1] * kind.itemsize), shape[0]), shape[0]


@contextmanager
def watching_features(workspace: Workspace, tell: Callable[[int, int], None]) -> Iterator[None]:
    """Tell again and again, while the block runs, how far features have come."""
    ended = threading.Event()

    def watch() -> None:
        before: tuple[int, int] | None = None
        while not ended.wait(LOOK_S):
            found = features_underway(workspace.features)
            if found is not None:
                tell(*found)
            elif before is not None:  # the file is whole
                tell(before[1], before[1])
            before = found

    watcher = threading.Thread(target=watch, name="features", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
