"""File locks that the kernel frees when their owner dies, and files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sweeper.errors import DiskError


class AlreadyLocked(Exception):
    """Another process holds the lock; `owner` is what it wrote about itself."""

    def __init__(self, path: Path, owner: str):
        self.owner = owner
        super().__init__(f"{path} is held by {owner or 'another process'}")


@contextmanager
def file_lock(path: Path, *, blocking: bool, owner: str = "") -> Iterator[None]:
    """Hold an exclusive lock on a file.

    Raises AlreadyLocked when not blocking and it is held, DiskError when it cannot be written.
    """
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+", encoding="utf-8")
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise AlreadyLocked(path, file.read().strip()) from None
        with _disk_errors(path):
            file.truncate(0)
            file.write(owner)
            file.flush()
        yield


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new and nothing between.

    What is written before it is on the disk before it, even when the machine loses power. Raises
    DiskError.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which stands at `path` once the block has ended well, and otherwise never.

    Raises DiskError for any OSError in the block.
    """
    beside = part_of(path)
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)  # a full disk gets its space back
            raise
        _sync_folder(path.parent)


def part_of(path: Path) -> Path:
    """Return where a file stands while it is not whole."""
    return path.with_name(path.name + ".part")


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder last, not only what the files hold."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{path} cannot be written: {error.strerror or error}. Free some space or make its folder writable, "
            "then run the same command again to go on"
        ) from error
