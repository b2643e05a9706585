"""File locks that the kernel frees when their owner dies, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from sweeper.errors import DamagedFile, DiskError
from sweeper.locks import lock
from sweeper.seal import with_seal, without_seal

T = TypeVar("T")

WAIT_S = 1.0
"""Between two looks at a lock that another process holds."""

LEFT_BY_SYSTEMS = (".ds_store", "thumbs.db", "desktop.ini", "__macosx")


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is none of the user's own making, by its name."""
    return name.startswith(".") or left_by_system(name)


def left_by_system(name: str) -> bool:
    """Return whether macOS or Windows leaves files of this name in folders that people have opened."""
    return name.startswith("._") or name.lower() in LEFT_BY_SYSTEMS


class AlreadyLocked(Exception):
    """Another process holds the lock; `owner` is what it wrote about itself."""

    def __init__(self, path: Path, owner: str):
        self.owner = owner
        super().__init__(f"{path} is held by {owner or 'another process'}")


@contextmanager
def file_lock(
    path: Path, *, blocking: bool, owner: str = "", waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold an exclusive lock on a file; `waiting` is called now and then while it is waited for.

    Raises AlreadyLocked when not blocking and it is held, DiskError when it cannot be written.
    """
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+", encoding="utf-8")
    with opened as file:
        try:
            if blocking and waiting is not None:
                _wait_for(file.fileno(), waiting)
            else:
                lock(file.fileno(), blocking=blocking)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyLocked(path, file.read().strip()) from None
        except OSError as error:
            raise DiskError(
                f"{path} cannot be locked: {error.strerror or error}. By locks two commands keep out of each other's "
                "way, and its file system has none: work in a folder on another disk, or mount this one with locks"
            ) from error
        with _disk_errors(path):
            file.truncate(0)
            file.write(owner)
            file.flush()
        yield


def _wait_for(descriptor: int, waiting: Callable[[], None]) -> None:
    while True:
        with suppress(BlockingIOError):
            return lock(descriptor, blocking=False)
        waiting()
        time.sleep(WAIT_S)


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock on a file; the file need not be there."""
    try:
        file = path.open()
    except FileNotFoundError:
        return False
    with file:
        try:
            lock(file.fileno(), blocking=False, shared=True)
        except OSError:
            return True
    return False


def read_parsed(path: Path, parse: Callable[[bytes], T]) -> T:
    """Return what `write_sealed` wrote. Raises DamagedFile where a file no longer holds that."""
    try:
        return parse(without_seal(path.read_bytes()))
    except ValueError as error:  # pydantic's is one, and so is that of text which is not UTF-8
        raise DamagedFile(
            f"{path} is damaged ({str(error).splitlines()[0]}); sweeper doctor STUDY --fix repairs it or says what is "
            "lost"
        ) from error


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new and nothing between.

    What is written before it is on the disk before it, even when the machine loses power. Raises
    DiskError.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_sealed(path: Path, content: bytes | str) -> None:
    """Write JSON as `write_whole` does, with a digest by which `read_parsed` knows it again."""
    write_whole(path, with_seal(content))


SEAL = b"\nsealed by sweeper "
DIGEST_BYTES = 16


class Damaged(Exception):
    """A file does not hold what was written."""


@contextmanager
def sealed_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write as `whole_file` does; it ends with a digest of its content."""
    with whole_file(path) as file:
        writer = _Sealing(file)
        yield writer  # type: ignore[misc]
        file.write(SEAL + writer.digest.hexdigest().encode())


class _Sealing:
    """Hands on what is written and sums it up."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.blake2b(digest_size=DIGEST_BYTES)

    def write(self, content: Any) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


def read_sealed(path: Path) -> tuple[bytes, bool]:
    """Return the content of a file, and whether it bears a seal. Raises Damaged when the seal is another content's."""
    content = path.read_bytes()
    end = len(content) - len(SEAL) - 2 * DIGEST_BYTES
    if end < 0 or content[end : end + len(SEAL)] != SEAL:
        return content, False
    if hashlib.blake2b(content[:end], digest_size=DIGEST_BYTES).hexdigest().encode() != content[end + len(SEAL) :]:
        raise Damaged(f"{path} is damaged: its content is not what was written")
    return content[:end], True


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which stands at `path` once the block has ended well, and otherwise never.

    Raises DiskError for any OSError in the block.
    """
    beside = part_of(path)
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with _NotingFile(io.FileIO(beside, "wb")) as file:
                with file.own_failure():
                    yield file
                file.flush()
                os.fsync(file.fileno())
            put_in_place(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)  # a full disk gets its space back
            raise


def put_in_place(built: Path, path: Path) -> None:
    """Put a file or folder that was built beside `path` there, in place of an earlier file. Raises OSError.

    What is built must be on the disk already; a reader, or a crash, sees the earlier one or the new one.
    """
    os.replace(built, path)  # noqa: PTH105  # the word for it
    sync_folder(path.parent)


class _NotingFile(io.BufferedWriter):
    """Remembers why a write failed: libraries that write by compiled code say something else."""

    _failure: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError as error:
            self._failure = error
            raise

    @contextmanager
    def own_failure(self) -> Iterator[None]:
        """Raise the failure of a write in place of what a library made of it."""
        try:
            yield
        except Exception as error:
            if self._failure is not None and error is not self._failure:
                raise self._failure from error
            raise


def part_of(path: Path) -> Path:
    """Return where a file stands while it is not whole."""
    return path.with_name(path.name + ".part")


def sync_all() -> None:
    """Make all that was written so far last, however many files it is; where the system cannot, nothing is done."""
    if hasattr(os, "sync"):
        os.sync()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last, not only what the files hold. Raises DiskError."""
    with _disk_errors(folder):
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
