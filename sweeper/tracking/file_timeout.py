"""How long it is waited for an answer of MLflow: longer for a file, which a server may hand on before it answers.

MLflow reads the time from the environment at each request. Whoever has set it there keeps what was set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
REQUEST_S = "20"
"""For a request without a file: MLflow's own 120 s would hold up the next trials' records where a server is gone."""

FILE_S = 120.0
SLOWEST = 1e6
"""Bytes a second: with how slow a store a file still arrives."""


@contextmanager
def time_for_file(size: int = 300_000_000) -> Iterator[None]:
    """Wait for answers as long as a file of so many bytes may take; by default as many as large weights have."""
    if os.environ.get(TIMEOUT) != REQUEST_S:
        yield
        return
    os.environ[TIMEOUT] = str(round(FILE_S + size / SLOWEST))
    try:
        yield
    finally:
        os.environ[TIMEOUT] = REQUEST_S
