"""Locks on open files, which the system frees when their holder ends."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt
    import time

    LOCKED_BYTE = 2**30
    """Far behind what the file says of its holder: others cannot read what is locked."""

    POLL_S = 0.1

    def lock(descriptor: int, *, blocking: bool = True, shared: bool = False) -> None:  # noqa: ARG001
        """Lock an open file. Raises BlockingIOError when not blocking and it is held; every lock is exclusive here."""
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        while True:
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except OSError as error:
                if not blocking:
                    raise BlockingIOError(error.errno, "held by another process") from error
            finally:
                os.lseek(descriptor, place, os.SEEK_SET)
            time.sleep(POLL_S)

else:
    import fcntl

    def lock(descriptor: int, *, blocking: bool = True, shared: bool = False) -> None:
        """Lock an open file, for several readers where `shared`. Raises BlockingIOError when not blocking and held."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind | (0 if blocking else fcntl.LOCK_NB))
