"""Copying images into a folder for each predicted class: nothing is overwritten, deleted or put elsewhere."""

from __future__ import annotations

import filecmp
import os
import shutil
from itertools import count
from pathlib import Path

from sweeper.errors import DatasetError, DiskError
from sweeper.paths import folder_of_class
from sweeper.predict.predict import Prediction


class SortedCopies:
    """The folder that copies are put into."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next: dict[Path, int] = {}
        self._made: set[Path] = set()

    def add(self, prediction: Prediction) -> Path | None:
        """Copy an image into the folder of its first class and return the copy; None where it has no class.

        Of several images with one name the later ones get a number; a copy that an earlier run made stands. Raises
        DatasetError when the folder of the class leads elsewhere, DiskError when the copy cannot be written.
        """
        if not prediction.classes:
            return None
        source = Path(prediction.image.path)
        try:
            folder = self._class_folder(prediction.classes[0])
            copy = self._copy(source, folder)
        except OSError as error:
            raise DiskError(
                f"{source} cannot be copied into {self._folder}: {error.strerror or error}; repair that or name "
                "another folder with --sort-into"
            ) from error
        return copy

    def _class_folder(self, name: str) -> Path:
        folder = self._folder / folder_of_class(name)
        folder.mkdir(parents=True, exist_ok=True)
        if folder.resolve() != self._folder.resolve() / folder.name:
            raise DatasetError(f"{folder} is a link that leads elsewhere; remove it or name another folder")
        return folder

    def _copy(self, source: Path, folder: Path) -> Path:
        target = folder / source.name
        if (earlier := self._earlier(source, target)) is not None:
            return earlier
        while True:
            number = self._next.get(target, 1)
            self._next[target] = number + 1
            free = _numbered(target, number)
            try:
                descriptor = os.open(free, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                continue
            self._made.add(free)
            self._fill(source, free, descriptor)
            return free

    def _earlier(self, source: Path, target: Path) -> Path | None:
        """Return the copy of a file that an earlier run has made, unless it is taken for one of another."""
        for number in count(1):
            found = _numbered(target, number)
            if not found.is_file():
                return None
            if found not in self._made and filecmp.cmp(source, found, shallow=False):
                self._made.add(found)
                return found
        return None

    def _fill(self, source: Path, target: Path, descriptor: int) -> None:
        try:
            with source.open("rb") as read, os.fdopen(descriptor, "wb") as write:
                shutil.copyfileobj(read, write)
        except BaseException:
            target.unlink(missing_ok=True)  # half a copy, made just now
            raise


def _numbered(target: Path, number: int) -> Path:
    return target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
