"""How an export comes to stand in its folder whole, and in nobody else's place."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from sweeper.errors import ExportError
from sweeper.export.seal import edited_files
from sweeper.files import left_by_system
from sweeper.paths import ExportFolder

FORMAT = "sweeper-export"
"""Stands in config.json; a folder without it is not an export of ours."""

SHOWN = 5
"""How many foreign files a message names."""


def require_replaceable(destination: Path) -> None:
    """Raise ExportError unless nothing stands at `destination`, or an earlier export and nothing else."""
    if not destination.exists():
        return
    if not destination.is_dir():
        raise ExportError(f"{destination} is a file; name a folder for the export")
    folder = ExportFolder(destination)
    config = _own_config(folder)
    foreign = _foreign_files(folder, config)
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        raise ExportError(
            f"{destination} holds what no export wrote and is left alone: {', '.join(foreign[:SHOWN])}{more}; "
            "name another folder, or move these files away"
        )
    edited = edited_files(folder, config.get("digests", {}))
    if edited:
        raise ExportError(
            f"{destination} holds files that were edited since they were exported and are not replaced: "
            f"{', '.join(edited[:SHOWN])}; name another folder, or move these files away"
        )


def _foreign_files(folder: ExportFolder, config: Mapping[str, Any]) -> list[str]:
    own = frozenset(map(str, config.get("files", [])))
    return [
        name
        for name in folder.files()
        if name not in own and "__pycache__" not in name and not any(map(left_by_system, name.split("/")))
    ]


def _own_config(folder: ExportFolder) -> dict[str, Any]:
    """Return what the export in a folder says of itself; nothing where there is no export."""
    try:
        config = json.loads(folder.config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    ours = isinstance(config, dict) and config.get("format") == FORMAT and isinstance(config.get("files"), list)
    return config if ours and isinstance(config.get("digests", {}), dict) else {}


@contextmanager
def staged(destination: Path) -> Iterator[ExportFolder]:
    """Give a folder beside `destination` to fill; put it in its place when the block ends well.

    Whatever goes wrong in the block leaves `destination` as it was.

    Raises:
        ExportError: `destination` must not be replaced, or cannot be written.
    """
    destination = destination.resolve()
    require_replaceable(destination)
    staging = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        _clear_leftovers(destination)
        staging.mkdir(parents=True)
        yield ExportFolder(staging)
        require_replaceable(destination)  # writing took a while, in which anything may have been put there
        _put_in_place(staging, destination)
    except OSError as error:
        raise ExportError(f"{destination} cannot be written: {error}; repair that or name another folder") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _clear_leftovers(destination: Path) -> None:
    """Undo what killed exports to the same destination left half done beside it."""
    for path in _leftovers(destination, "earlier"):
        if destination.exists():
            shutil.rmtree(path)
        else:
            path.rename(destination)
    for path in _leftovers(destination, "partial"):
        shutil.rmtree(path)


def _leftovers(destination: Path, kind: str) -> list[Path]:
    """Return the folders of exports whose process is gone, or was an earlier one of the same number."""
    name = re.compile(rf"\.{re.escape(destination.name)}\.(\d+)\.{kind}")
    found = [(path, name.fullmatch(path.name)) for path in destination.parent.glob(f".*.{kind}")]
    mine = [(path, int(match[1])) for path, match in found if match]
    return [path for path, pid in mine if pid == os.getpid() or not psutil.pid_exists(pid)]


def _put_in_place(staging: Path, destination: Path) -> None:
    """Swap two folders by renaming, since none can be renamed onto one that holds files."""
    if not destination.exists():
        staging.rename(destination)
        return
    earlier = staging.with_suffix(".earlier")
    destination.rename(earlier)
    try:
        staging.rename(destination)
    except OSError:
        earlier.rename(destination)
        raise
    shutil.rmtree(earlier, ignore_errors=True)
