"""Images decoded batch by batch while the network works on the batch before: for a single pass, without the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sweeper.data.decode import OWN_DEPTH, BadImage, Depth, Pixels, Resize, decode
from sweeper.data.image_file import read_image_file
from sweeper.data.prefetch import ahead, worth_processes
from sweeper.errors import DatasetError


@dataclass(frozen=True)
class DecodedBatch:
    """Some consecutive files of a list.

    `pixels` is uint8 [G, S, S, 3] of the G files that are images; `rows` are their places in the list,
    and `bad` maps the places of the others to the reason.
    """

    pixels: Pixels
    rows: tuple[int, ...]
    bad: dict[int, str]


def decoded_batches(
    paths: Sequence[str],
    size: int,
    resize: Resize,
    batch_size: int,
    depth: Depth = OWN_DEPTH,
    *,
    past_faults: bool = False,
) -> Iterator[DecodedBatch]:
    """Decode files to squares of `size` pixels exactly as the cache does, in order, a few batches ahead.

    A file that a disk or a network does not give now raises DatasetError; with `past_faults` it is among the bad ones.
    """
    batches = ((start, tuple(paths[start : start + batch_size])) for start in range(0, len(paths), batch_size))
    passed = (BadImage, DatasetError) if past_faults else (BadImage,)
    decode_batch = partial(_decode_batch, size=size, resize=resize, depth=depth, passed=passed)
    yield from ahead(decode_batch, batches, parallel=worth_processes(paths))


def _decode_batch(
    batch: tuple[int, Sequence[str]], size: int, resize: Resize, depth: Depth, passed: tuple[type[Exception], ...]
) -> DecodedBatch:
    pixels: list[Pixels] = []
    rows: list[int] = []
    bad: dict[int, str] = {}
    for row, path in enumerate(batch[1], start=batch[0]):
        try:
            pixels.append(decode(read_image_file(path), size, resize, depth))
            rows.append(row)
        except passed as error:
            bad[row] = str(error)
    stacked = np.stack(pixels) if pixels else np.empty((0, size, size, 3), np.uint8)
    return DecodedBatch(stacked, tuple(rows), bad)
