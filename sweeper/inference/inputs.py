"""The images that a user names on the command line: folders, patterns, CSV files and single files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.config.dataset import CsvConfig
from sweeper.data.csv_layout import read_names
from sweeper.data.scan import IMAGE_SUFFIXES, find_images, is_image_name
from sweeper.errors import DatasetError


@dataclass(frozen=True)
class InputImage:
    """A file to be looked at; or, with a reason, the name of one that cannot be."""

    name: str
    """As the user or the CSV file writes it."""
    path: str
    reason: str = ""


def find_inputs(named: Sequence[str], csv: CsvConfig) -> list[InputImage]:
    """Return every image that is named, in the order of the arguments, files of a folder sorted; none twice.

    A folder stands for the images in it and below it, a pattern for the files it matches, a CSV file for
    those of its image column, relative to `csv.images`.

    Raises:
        DatasetError: a name stands for nothing, or there is no image at all.
    """
    found = [image for name in named for image in _behind(name, csv)]
    if not found:
        raise DatasetError(
            f"no images in {', '.join(named)}; name a folder, a pattern, a CSV file or files that end in one of "
            f"{' '.join(IMAGE_SUFFIXES)}"
        )
    return list({image.path or image.name: image for image in found}.values())


def _behind(name: str, csv: CsvConfig) -> list[InputImage]:
    path = Path(name)
    if path.is_dir():
        return [InputImage(os.path.join(name, inner), os.path.join(name, inner)) for inner in find_images(path)]  # noqa: PTH118
    if path.suffix.lower() == ".csv" and path.is_file():
        return [InputImage(row.name, row.path, row.reason) for row in read_names(path, csv)]
    if path.exists():
        return [InputImage(name, name)]
    matches = sorted(match for match in glob.glob(name, recursive=True) if not os.path.isdir(match))  # noqa: PTH207, PTH112
    images = [match for match in matches if is_image_name(Path(match).name)]
    if not images:
        raise DatasetError(f"{name}: there is no such file or folder, and as a pattern it matches no image")
    return [InputImage(match, match) for match in images]
