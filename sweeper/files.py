"""File locks that the kernel frees when their owner dies, and files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyLocked(Exception):
    """Another process holds the lock; `owner` is what it wrote about itself."""

    def __init__(self, path: Path, owner: str):
        self.owner = owner
        super().__init__(f"{path} is held by {owner or 'another process'}")


@contextmanager
def file_lock(path: Path, *, blocking: bool, owner: str = "") -> Iterator[None]:
    """Hold an exclusive lock on a file. Raises AlreadyLocked when not blocking and it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise AlreadyLocked(path, file.read().strip()) from None
        file.truncate(0)
        file.write(owner)
        file.flush()
        yield


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
