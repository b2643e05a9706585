"""How often a request to MLflow is repeated and how long its answer is waited for: longer for a file.

MLflow reads both from the environment at each request. They are set while something of ours is under way and put back
then, so that a program that uses this package and MLflow keeps its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

RETRIES, TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
NO_RETRIES = "0"
"""MLflow's own seven block for four minutes, and one that repeats the creation of a run whose answer was lost creates a
second one. The outbox retries instead, and looks before it creates."""

REQUEST_S = "20"
"""For a request without a file: MLflow's own 120 s would hold up what follows where a server is gone. Whoever has set
another time keeps it."""

FILE_S = 120.0
SLOWEST = 1e6
"""Bytes a second: with how slow a store a file still arrives, which a server may hand on before it answers."""

_changing = threading.Lock()
_underway = 0
_before: dict[str, str | None] = {}
_files: list[int] = []
"""The seconds for each file that is under way; another thread may have one, too."""


@contextmanager
def our_requests() -> Iterator[None]:
    """Let requests be made as it suits us, on any thread, until all of such blocks have ended."""
    global _underway
    with _changing:
        if not _underway:
            _before.update({name: os.environ.get(name) for name in (RETRIES, TIMEOUT)})
            os.environ[RETRIES] = NO_RETRIES
            os.environ.setdefault(TIMEOUT, REQUEST_S)
        _underway += 1
    try:
        yield
    finally:
        with _changing:
            _underway -= 1
            if not _underway:
                _put_back()


def _put_back() -> None:
    for name, value in _before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def time_for_file(size: int = 300_000_000) -> Iterator[None]:
    """Wait for answers as long as a file of so many bytes may take; by default as many as large weights have."""
    with _changing:
        ours = bool(_files) or os.environ.get(TIMEOUT) == REQUEST_S
        if ours:
            _files.append(round(FILE_S + size / SLOWEST))
            wanted = _files[-1]
            os.environ[TIMEOUT] = str(max(_files))
    try:
        yield
    finally:
        if ours:
            with _changing:
                _files.remove(wanted)
                os.environ[TIMEOUT] = str(max(_files)) if _files else REQUEST_S
