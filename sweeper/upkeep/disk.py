"""How much disk sweeper's own folder takes, and what for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sweeper.paths import Workspace

BEGUN_FROM = ("*/start",)
UNFINISHED = ("*/trial-*", "*/delivered-*", "*/confirmation/trial-*", "*/confirmation/delivered-*", "*/folds-*")
"""Folders within those of studies; all else there is small, and stays for good."""


@dataclass(frozen=True)
class DiskUse:
    """Bytes on disk, by what they hold."""

    images: int
    features: int
    weights: int
    trials: int

    @property
    def total(self) -> int:
        return self.images + self.features + self.weights + self.trials


def disk_use(workspace: Workspace) -> DiskUse:
    """Return what decoded images, features, and trials that are not over take; it may change meanwhile."""
    images = bytes_in(workspace.cache) + bytes_in(workspace.builtin)
    features, weights = bytes_in(workspace.features), bytes_in(workspace.kept_weights)
    begun_from, unfinished = (_bytes_of(workspace, patterns) for patterns in (BEGUN_FROM, UNFINISHED))
    return DiskUse(images, features, weights + begun_from, unfinished)


def _bytes_of(workspace: Workspace, patterns: Iterable[str]) -> int:
    return sum(bytes_in(folder) for pattern in patterns for folder in workspace.studies.glob(pattern))


def bytes_in(path: Path) -> int:
    """Return what a folder takes on disk with all in it, or a file; nothing where there is none."""
    total = _bytes_of_file(path) if path.is_file() else 0
    for root, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # removed just now
                total += _bytes_of_file(Path(root) / name)
    return total


def _bytes_of_file(path: Path) -> int:
    found = path.lstat()
    blocks: int = getattr(found, "st_blocks", -(-found.st_size // 512))  # Windows counts none
    return blocks * 512
