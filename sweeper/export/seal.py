"""How an export is known to be as it was written: digests of its networks, and one of all that config.json says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sweeper.errors import ExportError
from sweeper.seal import SEAL, seal_of

NETWORKS = "model."
"""How the names of the files begin that hold the network in one form or another."""


def require_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Raise ExportError where a configuration bears the seal of another one; earlier versions wrote none."""
    if content.get(SEAL) not in (None, seal_of(content)):
        raise ExportError(f"{path} is not as it was written: it is damaged or edited; copy the export again, or export")


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of the networks among the files of an export."""
    networks = [name for name in names if name.startswith(NETWORKS) and (folder / name).is_file()]
    return {name: _digest(folder / name) for name in sorted(networks)}


def require_as_written(path: Path, digest: str | None) -> None:
    """Raise ExportError where a file has another digest; None is that of an export without digests."""
    if digest is not None and _digest(path) != digest:
        raise ExportError(
            f"{path} is damaged: it is not the file that the export wrote; copy the export again, or export"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
