"""How far workers have come with what is no epoch, by the files that they write.

These are the features of a frozen backbone, and pretrained weights that come from the model hub.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from sweeper.data.progress import Tell
from sweeper.paths import Workspace

LOOK_S = 1.0
STILL_S = 300.0
"""A file that has not grown for this long is left from a worker that was killed."""

FEATURES, WEIGHTS = "features of a frozen backbone", "downloading pretrained weights, megabytes"
MEGABYTE = 1_000_000


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


def weights_underway(hub: Path) -> tuple[int, int] | None:
    """Return how many megabytes of weights have come, and 0, since nobody says how many will; None where none come."""
    now, found = time.time(), []
    for path in hub.glob("*/blobs/*.incomplete"):
        with suppress(OSError):  # it has just become whole
            status = path.stat()
            if now - status.st_mtime <= STILL_S:
                found.append(status.st_size)
    return (sum(found) // MEGABYTE, 0) if found else None


def hub_cache() -> Path:
    """Return where the model hub's files lie on this machine."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


@contextmanager
def watching_work(workspace: Workspace, tell: Tell) -> Iterator[None]:
    """Tell again and again, while the block runs, how far workers have come with such work."""
    ended, hub = threading.Event(), hub_cache()
    looks = {FEATURES: partial(features_underway, workspace.features), WEIGHTS: partial(weights_underway, hub)}

    def watch() -> None:
        before: dict[str, tuple[int, int]] = {}
        while not ended.wait(LOOK_S):
            for what, look in looks.items():
                found = look()
                if found is not None:
                    tell(what, *found)
                    before[what] = found
                elif what in before:  # the file is whole
                    whole = max(before.pop(what))
                    tell(what, whole, whole)

    watcher = threading.Thread(target=watch, name="work underway", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
