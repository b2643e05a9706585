"""Reading files that a disk or a network does not give for a moment: that says nothing of the files themselves."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from sweeper.errors import DatasetError

T = TypeVar("T")

LASTING = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
    | {errno.EINVAL, errno.ENXIO, errno.EOVERFLOW}
)
"""Errors of a file that do not pass by themselves."""

WAITS_S = (0.5, 2.0)
"""Before it is tried again."""


def steadily(read: Callable[[str], T], path: str) -> T:
    """Return what `read` makes of a path. Raises OSError for one of LASTING, else DatasetError after some tries."""
    waits = iter(WAITS_S)
    while True:
        try:
            return read(path)
        except OSError as error:
            if error.errno in LASTING:
                raise
            wait_s = next(waits, None)
            if wait_s is None:
                raise DatasetError(
                    f"{path}: the file cannot be read now ({error.strerror}), whatever the image is like; see to the "
                    "disk or the network share that it is on, and run again"
                ) from error
        time.sleep(wait_s)
