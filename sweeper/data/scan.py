"""Finding image files in folders: 100,000 of them in a fraction of a second."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sweeper.errors import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


def is_image_name(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted; hidden ones are left out."""
    with _opened(folder) as entries:
        return sorted(entry.name for entry in entries if not _is_hidden(entry.name) and _is_folder(entry))


def holds_images(folder: Path) -> bool:
    """Tell whether image files lie directly in a folder."""
    with _opened(folder) as entries:
        return any(is_image_name(entry.name) and not _is_folder(entry) for entry in entries)


def find_images(folder: Path) -> list[str]:
    """Return the images in a folder and in all folders below it, relative to it, sorted.

    Symbolic links are followed, but each folder is entered only once, so that a loop of links ends.
    A link that leads nowhere is returned as well: it is better refused later than silently missed.
    """
    return sorted(_walk(folder, "", set()))


def _walk(folder: Path, prefix: str, entered: set[tuple[int, int]]) -> Iterator[str]:
    with _opened(folder) as entries:
        folders = []
        for entry in entries:
            if is_image_name(entry.name) and not _is_folder(entry):
                yield prefix + entry.name
            elif not _is_hidden(entry.name) and _is_folder(entry):
                folders.append(entry.name)
    if not folders:
        return
    entered.add(_identity(folder))
    for name in folders:
        if _identity(folder / name) not in entered:
            entered.add(_identity(folder / name))
            yield from _walk(folder / name, f"{prefix}{name}/", entered)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _opened(folder: Path) -> os._ScandirIterator[str]:
    try:
        return os.scandir(folder)
    except OSError as error:
        raise DatasetError(
            f"{folder}: the folder cannot be read ({error.strerror}); check dataset.path and its permissions"
        ) from error
