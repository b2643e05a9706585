"""Processes that decode images: as many as cores and memory allow, large images one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Lock

from sweeper.child_process import live_with_parent, spawning
from sweeper.data.decode import take_turns

PROCESS_BYTES = 330 << 20
"""What a process takes that decodes images of up to LARGE_PIXELS, of the same format."""

LARGE_BYTES = 1700 << 20
"""What the one takes that decodes an image of MAX_PIXELS, of the format that needs most: WebP, 16 bytes a pixel."""


def decoding_pool(at_most: int) -> ProcessPoolExecutor:
    """Return processes for decoding, at most `at_most`.

    They are spawned, since a forked child of a process with threads (torch, MLflow) may deadlock.
    """
    spawn = spawning()
    count = max(1, min(decoding_processes(), at_most))
    return ProcessPoolExecutor(count, spawn, initializer=_begin, initargs=(spawn.Lock(),))


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
