"""Standard output and error that may go away while a command runs: a pager that ends, a terminal that is closed.

What is shown is then lost, and nothing else: a sweep goes on to its end. So it does where they cannot hold a character.
Where it was to be kept and could not be, on a full disk, the command says so at its end (`written_whole`).
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

from sweeper.errors import DiskError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if hasattr(errno, "EDQUOT") else (errno.ENOSPC, errno.EFBIG)


class LastingStream:
    """A stream of text to which writing never fails; once nobody reads it any more, it leads nowhere."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.trouble: OSError | None = None
        """Why what was written is not where it was to be kept."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lead_nowhere(error)
            return len(text)

    def write_bytes(self, content: bytes) -> None:
        """Write bytes after the text."""
        self.flush()
        try:
            self._stream.buffer.write(content)
        except OSError as error:
            self._lead_nowhere(error)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lead_nowhere(error)

    def _lead_nowhere(self, error: OSError) -> None:
        """Let the descriptor lead nowhere, so that what is still buffered, and what children print, goes there too."""
        if error.errno in NO_ROOM:
            self.trouble = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # a stream without a descriptor
            os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def outlast_the_reader() -> None:
    """Let this process print to standard output and error whether or not anybody reads them."""
    _open_what_is_closed()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when the process began
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # for as long as the process lives
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")  # not every encoding has a bar or a tick
        if not isinstance(stream, LastingStream):
            setattr(sys, name, cast(TextIO, LastingStream(stream)))


@contextmanager
def written_whole() -> Iterator[None]:
    """Raise DiskError where a command ends well, and the file that keeps what it printed had no room for all of it."""
    try:
        yield
    except SystemExit as end:
        if not end.code:
            _require_written()
        raise
    _require_written()


def _require_written() -> None:
    stream = sys.stdout
    if isinstance(stream, LastingStream):
        stream.flush()
        if stream.trouble is not None:
            raise DiskError(f"what was printed could not be written whole: {stream.trouble.strerror}; make room for it")


def _open_what_is_closed() -> None:
    """Take the numbers 0 to 2 where they are free: a database that got one would be printed into."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
