"""How an export is known to be as it was written: digests of its files, and one of all that config.json says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeper.errors import ExportError
from sweeper.paths import ExportFolder
from sweeper.seal import SEAL, seal_of

NETWORKS = "model."
"""How the names of the files begin that hold the network in one form or another."""


def require_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Raise ExportError where a configuration bears the seal of another one; earlier versions wrote none."""
    if content.get(SEAL) not in (None, seal_of(content)):
        raise ExportError(f"{path} is not as it was written: it is damaged or edited; copy the export again, or export")


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of those files of an export that are there."""
    return {name: _digest(folder / name) for name in sorted(names) if (folder / name).is_file()}


def edited_files(folder: ExportFolder, digests: Mapping[str, str]) -> list[str]:
    """Return the files that somebody has edited since; a network that differs is damaged, and exported again."""
    texts = [name for name in folder.files() if name in digests and not name.startswith(NETWORKS)]
    return [name for name in texts if _digest(folder.path / name) != digests[name]]


def require_as_written(path: Path, digest: str | None) -> None:
    """Raise ExportError where a file has another digest; None is that of an export without digests."""
    if digest is not None and _digest(path) != digest:
        raise ExportError(
            f"{path} is damaged: it is not the file that the export wrote; copy the export again, or export"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
