"""The folders in which `sweeper reproduce` trains trials again: each is held while it is used, and gone afterwards."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeper.files import AlreadyLocked, file_lock, is_held
from sweeper.paths import StudyFolder, Workspace


@contextmanager
def reproduction_folder(workspace: Workspace) -> Iterator[StudyFolder]:
    """Give a new folder for the block, and remove those that killed processes have left before. Raises DiskError."""
    for path in abandoned(workspace):
        remove_abandoned(path)
    path = workspace.reproduction(uuid.uuid4().hex[:8])
    with file_lock(_lock(path), blocking=True):  # before the folder is there, so that nobody takes it for abandoned
        try:
            yield StudyFolder(path / "study")
        finally:
            _remove(path)


def abandoned(workspace: Workspace) -> list[Path]:
    """Return the folders that no process uses any more."""
    return [path for path in workspace.reproductions() if not is_held(_lock(path))]


def remove_abandoned(path: Path) -> None:
    """Remove a folder with its lock, unless a process uses it."""
    with suppress(AlreadyLocked), file_lock(_lock(path), blocking=False):
        _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    _lock(path).unlink(missing_ok=True)


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")
