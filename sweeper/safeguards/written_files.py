"""Files that were written into a folder, known again by their digests: tables and lists look like anyone's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sweeper.errors import DiskError
from sweeper.files import write_whole
from sweeper.locks import lock

RECORD = ".sweeper-lists.json"
"""Beside the files, with the digests of the latest of them."""

MOST_KNOWN = 10_000
DIGESTS = TypeAdapter(list[str])


class WrittenFiles:
    """The files of one folder, as far as they stand there as they were written."""

    def __init__(self, folder: Path) -> None:
        self._record = folder / RECORD

    def holds(self, path: Path) -> bool:
        """Return whether a file is one of them, as it was written."""
        known = self._known()
        if not known or not path.is_file():
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() in known

    def write(self, path: Path, content: bytes | str) -> None:
        """Write one of them. It is known first: a command that is killed leaves none that is not. Raises DiskError.

        Where nothing can be noted, as in /tmp beside what another user has noted there, it is written and not known.
        """
        content = content.encode() if isinstance(content, str) else content
        with suppress(DiskError), _alone_in(self._record.parent):
            self._note(hashlib.sha256(content).hexdigest())
        write_whole(path, content)

    def _note(self, digest: str) -> None:
        known = [other for other in self._known() if other != digest]
        write_whole(self._record, DIGESTS.dump_json([*known[1 - MOST_KNOWN :], digest]))

    def _known(self) -> list[str]:
        """Return the digests, oldest first."""
        try:
            return DIGESTS.validate_json(self._record.read_bytes())
        except (OSError, ValidationError):
            return []


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other commands from noting in a folder meanwhile, where its file system has locks."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)  # what is wrong with it is told when the file is written
    descriptor = None
    try:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            lock(descriptor)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
