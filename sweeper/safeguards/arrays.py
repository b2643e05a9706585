"""Arrays in files of ours, each with a checksum of its own; damage is reported in one way."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

ONE_AT_A_TIME = threading.Lock()
"""numpy reads the head of an array by Python's parser, which in Python 3.11 fails now and then in several threads."""


def packed(**arrays: npt.NDArray[Any]) -> bytes:
    """Return arrays as an .npz file."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def unpacked(content: bytes, *names: str) -> list[npt.NDArray[Any]]:
    """Return the arrays of an .npz file that have these names. Raises ValueError for one that is damaged or none."""
    try:
        with ONE_AT_A_TIME, np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return [np.asarray(stored[name]) for name in names]
    except Exception as error:  # damaged files raise nearly anything from within the readers
        raise ValueError(f"no arrays of ours: {type(error).__name__} {error}".splitlines()[0]) from error
