"""Arrays in files of ours, read by several threads at once as a report does."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sweeper.safeguards.arrays import packed, unpacked

THREADS, TIMES = 8, 150


class Garbage:
    """Refers to itself, and has a finalizer, in which another thread may go on."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        for _ in range(50):
            pass


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Let threads take turns, and garbage be collected, as often as can be."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(5)
    yield
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless_threads")
def test_several_threads_read_what_was_written() -> None:
    content = packed(numbers=np.arange(500, dtype=np.uint64))

    def read(_: int) -> int:
        total = 0
        for _turn in range(TIMES):
            Garbage()
            (numbers,) = unpacked(content, "numbers")
            total += int(numbers.sum())
        return total

    with ThreadPoolExecutor(THREADS) as threads:
        assert set(threads.map(read, range(THREADS))) == {TIMES * sum(range(500))}
