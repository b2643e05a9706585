"""Processes that decode images: as many as cores and memory allow, large images one at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Lock

from sweeper.child_process import live_with_parent
from sweeper.data.decode import take_turns
from sweeper.errors import DatasetError

PROCESS_BYTES = 330 << 20
"""What a process takes that decodes images of up to LARGE_PIXELS, of the same format."""

UNGUARDED = 'in a script, put what calls sweeper below `if __name__ == "__main__":`, as multiprocessing asks'
"""Processes for decoding import the script that they were started from."""

LARGE_BYTES = 1700 << 20
"""What the one takes that decodes an image of MAX_PIXELS, of the format that needs most: WebP, 16 bytes a pixel."""


def decoding_pool(at_most: int) -> ProcessPoolExecutor:
    """Return processes for decoding, at most `at_most`.

    They are spawned, since a forked child of a process with threads (torch, MLflow) may deadlock.
    """
    spawn = multiprocessing.get_context("spawn")
    count = max(1, min(decoding_processes(), at_most))
    return ProcessPoolExecutor(count, spawn, initializer=_begin, initargs=(spawn.Lock(),))


def require_guarded_script() -> None:
    """Raise DatasetError in a process for decoding that is still importing the script which started it.

    Such a process runs the script anew, down to the call that started it, and would wait for itself for ever.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DatasetError(UNGUARDED)


def decoding_processes() -> int:
    """Return how many processes may decode at the same time."""
    import psutil  # not in the processes themselves, which start the sooner for it

    room = (psutil.virtual_memory().available - LARGE_BYTES) // PROCESS_BYTES
    return max(1, min(_usable_cores(), room))


def _usable_cores() -> int:
    """Return how many cores this process may use; where the system does not say, how many there are."""
    usable: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # of Linux alone
    return len(usable(0)) if usable else os.cpu_count() or 1


def _begin(lock: Lock) -> None:
    live_with_parent()
    take_turns(lock)
