"""Work on a stream of items in processes, a bounded number of them ahead of whoever takes the results."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from sweeper.data.decoding_pool import decoding_pool, decoding_processes
from sweeper.errors import DatasetError

T = TypeVar("T")
R = TypeVar("R")

PARALLEL_FROM_BYTES = 4 << 20  # below, starting processes takes longer than decoding


def ahead(function: Callable[[T], R], items: Iterable[T], *, parallel: bool) -> Iterator[R]:
    """Yield `function` of every item, in their order; where `parallel`, by a process a core.

    At most two items a process are held, so memory does not grow with the stream. Raises
    `DatasetError` when a process is killed.
    """
    if not parallel:
        yield from map(function, items)
        return
    # Processes, since Pillow's warnings are filtered by `decode`, which no two threads may do at once.
    count = decoding_processes()
    pool = decoding_pool(count)
    try:
        yield from _in_order(pool, function, items, most=2 * count)
    except BrokenProcessPool as error:
        raise DatasetError(
            "a process that decodes images was killed, perhaps because memory ran out; run again, with a smaller "
            "batch size if it happens again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # whoever takes may stop early


def _in_order(pool: Executor, function: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def worth_processes(paths: Sequence[str]) -> bool:
    """Return whether files hold so much that processes pay."""
    total = 0
    for path in paths:
        try:
            total += os.stat(path).st_size  # noqa: PTH116 - for every file there is
        except (OSError, ValueError):
            continue  # reported when it is read
        if total >= PARALLEL_FROM_BYTES:
            return True
    return False
