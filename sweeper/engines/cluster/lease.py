"""How long a node works on without a word from the driver: it may be gone without anyone saying so."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

LOOK_S = 1.0  # between two looks at the lease


class Lease:
    """Ends this process when it was not renewed in time. Until then the driver gives its trials to nobody.

    After `end` it no longer does.

    Args:
        seconds: For how long it holds.
        lock: Held while something is done for the driver, which takes as long as it takes.
        close: Tidies up first.
    """

    def __init__(self, seconds: float, lock: AbstractContextManager[Any], close: Callable[[], None]):
        self._seconds, self._lock, self._close = seconds, lock, close
        self._ended = threading.Event()
        self.renew()
        threading.Thread(target=self._watch, daemon=True, name="lease").start()

    def renew(self) -> None:
        self._renewed = time.monotonic()

    def end(self) -> None:
        self._ended.set()

    def _ran_out(self) -> bool:
        return time.monotonic() - self._renewed >= self._seconds

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            if self._closed():
                os._exit(1)

    def _closed(self) -> bool:
        """Close where the lease has run out; return whether it has."""
        if not self._ran_out():
            return False
        with self._lock:
            if not self._ran_out():  # what took so long was done for the driver
                return False
            self._close()
            return True
