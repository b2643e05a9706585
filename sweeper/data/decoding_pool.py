"""Processes that decode images: as many as cores and memory allow, large images one at a time."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Lock

from sweeper.allowance import available_bytes, usable_cores
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
    room = (available_bytes() - LARGE_BYTES) // PROCESS_BYTES
    return max(1, min(usable_cores(), room))


def _begin(lock: Lock) -> None:
    live_with_parent()
    take_turns(lock)
