"""Large files that are known to be what was written: by size and time, and by their digest where those differ.

Beside NAME stands NAME.witness. A file that was touched or copied is read once, and is then known again.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from sweeper.errors import DiskError
from sweeper.files import write_whole
from sweeper.seal import sealed, unsealed

DIGEST_BYTES = 16
COARSE_NS = 50_000_000
"""Clocks of file systems may stand still for so long: a file noted this soon after it was written is read again."""


def vouch(path: Path) -> None:
    """Note what a file holds that has just been written. Raises DiskError."""
    _note(path, _digest(path))


def require_as_written(path: Path) -> None:
    """Raise ValueError where a file does not hold what was written, or nobody knows; FileNotFoundError without one."""
    known = unsealed(_witness(path).read_bytes())
    size, written_ns = _state(path)
    same = (known.get("size"), known.get("time_ns")) == (size, written_ns)
    if same and known["noted_ns"] - written_ns > COARSE_NS:
        return
    if _digest(path) != known.get("digest"):
        raise ValueError(f"{path} does not hold what was written")
    with suppress(DiskError):  # it is then read again the next time
        _note(path, known["digest"])


def _note(path: Path, digest: str) -> None:
    size, written_ns = _state(path)
    noted = {"size": size, "time_ns": written_ns, "noted_ns": time.time_ns(), "digest": digest}
    write_whole(_witness(path), sealed(noted))


def _witness(path: Path) -> Path:
    return path.with_name(f"{path.name}.witness")


def _state(path: Path) -> tuple[int, int]:
    state = os.stat(path)  # noqa: PTH116
    return state.st_size, state.st_mtime_ns


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()
