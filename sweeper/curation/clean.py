"""Images to look at before a training: those that their features set apart from their class, worst first."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeper.curation.contact_sheet import contact_sheet
from sweeper.curation.features import Features
from sweeper.curation.image_list import ImageList
from sweeper.curation.outliers import Method, compact, outlier_scores, suggested_labels
from sweeper.curation.written_lists import WrittenLists
from sweeper.errors import ConfigError, DatasetError, Problem
from sweeper.paths import WRITTEN_LISTS
from sweeper.safeguards.outputs import Kind, marked
from sweeper.safeguards.spreadsheet import table

COLUMNS = ("path", "class", "score", "method", "suggested_label")
SUSPECTS = Kind("list of images to look at", re.compile(",".join(COLUMNS).encode() + b"\n"))


@dataclass(frozen=True)
class SuspectList:
    """The list of suspects that a command writes at `path`; one that was edited since is replaced by `force` alone.

    Lists of earlier versions count as edited.
    """

    path: Path
    force: bool

    def require_unedited(self) -> None:
        """Raise ConfigError where the file that is there is not as it was written."""
        if self.force or not self.path.exists() or self._written.holds(self.path):
            return
        what = (
            f"{self.path} is not as it was written: it may have been edited by hand, so it is not replaced; "
            "name another file, or replace it with --force"
        )
        raise ConfigError([Problem("--csv", "", what)])

    def write(self, suspects: Sequence[Suspect]) -> None:
        """Write the list. Raises ConfigError as above, DiskError."""
        self.require_unedited()  # it may have been edited since it was asked first
        self._written.write(self.path, suspects_csv(suspects).encode())

    @property
    def _written(self) -> WrittenLists:
        return WrittenLists(self.path.parent / WRITTEN_LISTS)


@dataclass(frozen=True)
class Suspect:
    """An image that may not belong to its class; without a suggestion where no other class is near."""

    row: int
    path: str
    label: str
    score: float
    method: str
    suggested: str


def find_suspects(
    images: ImageList, rows: Sequence[int], features: Features, method: Method, share: float, seed: int = 0
) -> list[Suspect]:
    """Return the given share of the images with the highest outlier scores.

    Args:
        images: The images with their classes.
        rows: [G], which of them the features are of.
        features: [G, D].
        method: How outliers are found.
        share: Of the images, above 0 to 1.

    Raises:
        DatasetError: no class has two images.
    """
    numbers = {name: number for number, name in enumerate(images.classes)}
    labels = np.array([numbers[images.labels[row]] for row in rows], dtype=np.int64)
    if not labels.size or np.bincount(labels).max() < 2:
        raise DatasetError(f"{images.root}: no class has two readable images; there is nothing to compare")
    small = compact(features)
    scores = outlier_scores(small, labels, method, seed)
    worst = np.argsort(-scores, kind="stable")[: max(1, round(share * len(rows)))]
    suggested = suggested_labels(small, labels, worst)
    return [
        Suspect(
            row=rows[place],
            path=images.paths[rows[place]],
            label=images.labels[rows[place]],
            score=float(scores[place]),
            method=method,
            suggested="" if number < 0 else images.classes[number],
        )
        for place, number in zip(worst.tolist(), suggested.tolist(), strict=True)
    ]


def suspects_csv(suspects: Sequence[Suspect]) -> str:
    """Return a line for each candidate, worst first: `dataset.exclude` takes it as it is."""
    return table([COLUMNS, *((c.path, c.label, f"{c.score:.6f}", c.method, c.suggested) for c in suspects)])


def suspects_sheet(images: ImageList, suspects: Sequence[Suspect]) -> bytes:
    """Return a PNG of suspects with their class and, after an arrow, the suggested one."""
    entries = [
        (images.file(c.row), c.label, f"-> {c.suggested}" if c.suggested else f"score {c.score:.2f}") for c in suspects
    ]
    stream = io.BytesIO()
    contact_sheet(entries).save(stream, "PNG", pnginfo=marked())
    return stream.getvalue()
