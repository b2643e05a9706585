"""Lists of images that were written into a folder, known again by their digests: they look like anyone's."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sweeper.files import write_whole

DIGESTS = TypeAdapter(list[str])


class WrittenLists:
    """The lists of one folder, as far as they stand there as they were written."""

    def __init__(self, record: Path) -> None:
        self._record = record
        try:
            self._known = frozenset(DIGESTS.validate_json(record.read_bytes()))
        except (OSError, ValidationError):
            self._known = frozenset()

    def holds(self, path: Path) -> bool:
        """Return whether a file is one of them, as it was written."""
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() in self._known

    def write(self, path: Path, content: bytes) -> None:
        """Write one of them. It is known first: a command that is killed leaves none that is not."""
        self._known |= {hashlib.sha256(content).hexdigest()}
        write_whole(self._record, DIGESTS.dump_json(sorted(self._known)))
        write_whole(path, content)
