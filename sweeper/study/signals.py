"""Signals that end a sweep cleanly."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the sweep cleanly, and the second at once."""

    def handle(received: int, _frame: FrameType | None) -> None:
        stop()
        signal.signal(received, signal.default_int_handler if received == signal.SIGINT else signal.SIG_DFL)

    previous = {name: signal.signal(name, handle) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)
