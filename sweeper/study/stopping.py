"""How a running sweep is asked to stop: by Ctrl-C, or by SIGTERM, with which a scheduler takes the machine back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether a sweep was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self._by: int | None = None

    def __bool__(self) -> bool:
        return self._by is not None

    @property
    def to_leave(self) -> bool:
        """Whether it came by SIGTERM: who sends that waits for seconds and then kills."""
        return self._by == signal.SIGTERM

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Let the first Ctrl-C or SIGTERM in the block ask to stop, and the second Ctrl-C end it at once.

        Schedulers repeat SIGTERM, to each process and to all of a job; that changes nothing. A program that handles it
        itself hears no more of it once the sweep has: it is about to end, and would be cut off in what it still says.
        In a thread of a program nothing is heard: signals are the business of its main thread.
        """
        heard = (signal.SIGINT, signal.SIGTERM) if _in_main_thread() else ()
        previous = {name: signal.getsignal(name) for name in heard}
        self.hear()
        try:
            yield
        finally:
            for name, handler in previous.items():
                ends = name == signal.SIGTERM and self.to_leave and callable(handler)
                if handler is not None and not ends:  # None: of a program in C that has embedded Python
                    signal.signal(name, handler)

    def hear(self) -> None:
        """Listen to both signals, also after a library has taken them, as Ray does when it connects."""
        if not _in_main_thread():
            return
        for name in (signal.SIGINT, signal.SIGTERM):
            if not self:
                signal.signal(name, self._receive)
            elif name == self._by:
                self._do_no_more_at(name)

    def _receive(self, received: int, _frame: FrameType | None) -> None:
        self._by = received
        self._do_no_more_at(received)

    def _do_no_more_at(self, received: int) -> None:
        """Let a signal that has come do no more; Ctrl-C ends the program."""
        signal.signal(received, signal.default_int_handler if received == signal.SIGINT else signal.SIG_IGN)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
