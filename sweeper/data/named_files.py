"""Files that a list names: where they lie, that they lie in their folder, and whether they are there.

A million names are looked up in seconds: folders are read whole once a list names many of their files.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ONE_BY_ONE = 64
"""Names in one folder that are looked up alone; from there on the whole folder is read."""


@dataclass
class NamedFiles:
    """The folder that names are relative to, and what is appended to each of them."""

    folder: Path
    extension: str = ""
    _asked: Counter[str] = field(default_factory=Counter)
    _inside: dict[str, frozenset[str]] = field(default_factory=dict)

    def path_of(self, name: str) -> str | None:
        """Return a name relative to the folder, or None when it leads out of it: `../../etc/passwd`."""
        name += self.extension
        if name[:1] not in ("/", ".") and "/." not in name and "//" not in name and name[-1:] != "/":
            return name  # as nearly all are: nothing to be resolved
        return inside(self.folder, name)

    def exist(self, path: str) -> bool:
        """Return whether a path in the folder is that of a file."""
        parent, _, name = path.rpartition("/")
        self._asked[parent] += 1
        if self._asked[parent] <= ONE_BY_ONE:
            return self._is_file(path)
        if parent not in self._inside:
            self._inside[parent] = _files_in(self.folder / parent)
        return name in self._inside[parent] or self._is_file(path)

    def _is_file(self, path: str) -> bool:
        try:
            return os.path.isfile(f"{self.folder}/{path}")  # noqa: PTH113 - many thousand times
        except (OSError, ValueError):  # a name that is too long, or holds a zero byte
            return False


def _files_in(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except (OSError, ValueError):
        return frozenset()


def inside(folder: Path, name: str) -> str | None:
    """Return a name relative to the folder, or None when it leads out of it."""
    path = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118 - pathlib keeps the `..`
    start = os.path.join(folder, "")  # noqa: PTH118
    return path[len(start) :] if path.startswith(start) else None
