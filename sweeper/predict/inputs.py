"""The images that a user names on the command line: folders, patterns, CSV files and single files."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.config.dataset import CsvConfig
from sweeper.data.csv_layout import read_names
from sweeper.data.picture.formats import FORMATS
from sweeper.data.scan import Found, counted, find_files, is_image_name, kind_of_other
from sweeper.errors import DatasetError
from sweeper.files import is_hidden


@dataclass(frozen=True)
class InputImage:
    """A file to be looked at; or, with a reason, the name of one that cannot be."""

    name: str
    """As the user or the CSV file writes it."""
    path: str
    reason: str = ""


@dataclass(frozen=True)
class Inputs:
    """All images that are named, and how many other files of each kind lie beside them in folders and patterns."""

    images: list[InputImage]
    others: Mapping[str, int] = field(default_factory=dict)


def find_inputs(named: Sequence[str], csv: CsvConfig, *, once: bool = True) -> Inputs:
    """Return every image that is named, in the order of the arguments, files of a folder sorted; each `once`, or not.

    A folder stands for the images in it and below it, a pattern for the images it matches, a CSV file for
    those of its image column, relative to `csv.images`.

    Raises:
        DatasetError: a name stands for nothing, or there is no image at all.
    """
    found: list[InputImage] = []
    others: Counter[str] = Counter()
    for name in named:
        images, beside = _behind(name, csv)
        found += images
        others += beside
    if not found:
        beside_them = f", but {counted(others)}" if others else ""
        raise DatasetError(
            f"no images in {', '.join(named)}{beside_them}; name a folder, a pattern, a CSV file or files of "
            f"the formats {', '.join(FORMATS)}"
        )
    return Inputs(list({image.path or image.name: image for image in found}.values()) if once else found, others)


def _behind(name: str, csv: CsvConfig) -> tuple[list[InputImage], Counter[str]]:
    if not name:
        raise DatasetError("the name of an image or folder is empty; the current folder is named by a dot")
    path = Path(name)
    try:
        path.stat()
    except PermissionError as error:
        raise DatasetError(f"{name}: cannot be looked up ({error.strerror})") from error
    except (OSError, ValueError):  # it may be a pattern
        pass
    if path.is_dir():
        within = find_files(path)
        inner = [os.path.join(name, image) for image in within.images]  # noqa: PTH118
        return [InputImage(image, image) for image in inner], within.others
    if path.suffix.lower() == ".csv" and path.is_file():
        return [InputImage(row.name, row.path, row.reason) for row in read_names(path, csv)], Counter()
    if path.exists():
        return [InputImage(name, name)], Counter()
    matched = _matched(name)
    if not matched.images and not matched.others:
        raise DatasetError(f"{name}: no such file or folder, and no image matches it as a pattern")
    return [InputImage(match, match) for match in matched.images], matched.others


def _matched(pattern: str) -> Found:
    """Return the files that a pattern matches, parted as those of a folder are."""
    found = Found()
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207
        name = os.path.basename(match)  # noqa: PTH119
        if os.path.isdir(match) or is_hidden(name):  # noqa: PTH112
            continue
        kind = "" if is_image_name(name) else kind_of_other(match)
        if kind:
            found.others[kind] += 1
        else:
            found.images.append(match)
    return found
