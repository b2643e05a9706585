"""Facts of every image file of a list, gathered in parallel and kept in columns: some 400 bytes an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeper.curation.image_list import ImageList
from sweeper.data.decode import BadImage
from sweeper.data.image_facts import THUMBNAIL_SIDE, WholeImage, look_at
from sweeper.data.image_file import read_image_file
from sweeper.data.prefetch import ahead, worth_processes
from sweeper.data.progress import Progress

CHUNK_IMAGES = 64


@dataclass(frozen=True)
class Facts:
    """Columns over the N images of a list; those of unreadable files are empty.

    `size` is int32 [N, 2], width and height; `looks` uint64 [N]; `thumbnails` uint8 [N, 16, 16]; `largest` int32 [N],
    the largest value of images with more than 8 bits that do not say how many they use. `bad` maps rows that are no
    readable image to the reason.
    """

    size: npt.NDArray[np.int32]
    modes: list[str]
    formats: list[str]
    file_digests: list[bytes]
    pixel_digests: list[bytes]
    looks: npt.NDArray[np.uint64]
    thumbnails: npt.NDArray[np.uint8]
    largest: npt.NDArray[np.int32]
    bad: dict[int, str]


def gather(images: ImageList, progress: Progress | None = None) -> Facts:
    """Read and decode every file once. Raises DatasetError when a decoding process is killed."""
    count = len(images)
    facts = Facts(
        size=np.zeros((count, 2), np.int32),
        modes=[""] * count,
        formats=[""] * count,
        file_digests=[b""] * count,
        pixel_digests=[b""] * count,
        looks=np.zeros(count, np.uint64),
        thumbnails=np.zeros((count, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8),
        largest=np.zeros(count, np.int32),
        bad={},
    )
    for row, seen in enumerate(_seen(images)):
        _store(facts, row, seen)
        if progress and (row + 1) % CHUNK_IMAGES == 0:
            progress(row + 1, count)
    return facts


def _store(facts: Facts, row: int, seen: WholeImage | str) -> None:
    if isinstance(seen, str):
        facts.bad[row] = seen
        return
    facts.size[row] = seen.width, seen.height
    facts.modes[row], facts.formats[row] = seen.mode, seen.format
    facts.file_digests[row], facts.pixel_digests[row] = seen.file_digest, seen.pixel_digest
    facts.looks[row], facts.thumbnails[row] = seen.look, seen.thumbnail
    facts.largest[row] = seen.largest


def _seen(images: ImageList) -> Iterator[WholeImage | str]:
    files = [images.file(row) for row in range(len(images))]
    chunks = (tuple(files[start : start + CHUNK_IMAGES]) for start in range(0, len(files), CHUNK_IMAGES))
    for chunk in ahead(look_at_files, chunks, parallel=worth_processes(files)):
        yield from chunk


def look_at_files(files: Sequence[str]) -> list[WholeImage | str]:
    """Describe files; of one that is not a readable image return the reason."""
    return [_look_at_file(file) for file in files]


def _look_at_file(file: str) -> WholeImage | str:
    try:
        return look_at(read_image_file(file))
    except BadImage as error:
        return str(error)
