"""How much disk sweeper's own folder takes, and what for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sweeper.paths import Workspace


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
    """Return what decoded images, features and the trials of all studies take; it may change meanwhile."""
    images = _bytes(workspace.cache) + _bytes(workspace.builtin)
    features, weights = _bytes(workspace.features), _bytes(workspace.kept_weights)
    return DiskUse(images, features, weights, _bytes(workspace.state / "studies"))


def _bytes(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).lstat().st_blocks * 512
            except FileNotFoundError:
                continue  # removed just now
    return total
