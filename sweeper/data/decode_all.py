"""Decoding all images of a data set, in parallel processes, into one file.

The processes import PIL and NumPy only and write their pixels straight into the file, so that
nothing but a digest and the reasons for failures travels between them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from sweeper.data.decode import FULL_DEPTH, BadImage, Depth, Resize, bits_of, decode_square
from sweeper.data.decoding_pool import decoding_pool
from sweeper.data.fingerprint import FileStates
from sweeper.data.prefetch import PARALLEL_FROM_BYTES
from sweeper.data.progress import Progress
from sweeper.data.steady import steadily
from sweeper.errors import DatasetError

CHUNK_IMAGES = 64
CLAIMED_AT_ONCE = 1 << 20  # bytes
DIGEST_BYTES = 16
ALL_BITS = 16


@dataclass(frozen=True)
class Chunk:
    """Some rows of the cache: what to decode, how, and where to write it."""

    target: Path
    offset: int
    root: Path
    rows: tuple[int, ...]
    paths: tuple[str, ...]
    unreadable: dict[int, str]
    size: int
    resize: Resize
    depth: Depth


@dataclass(frozen=True)
class DecodedChunk:
    """Of every row of a chunk the digest of its file, width and height of it, and the largest value where that counts.

    `bad` has the reason for every row that could not be decoded.
    """

    rows: tuple[int, ...]
    digests: tuple[bytes, ...]
    facts: tuple[tuple[int, int, int], ...]
    bad: dict[int, str]


@dataclass(frozen=True)
class Built:
    """What became of N files.

    `digests` has DIGEST_BYTES of each. `facts` is int64 [N, 3]: width, height and, of an image with more than 8 bits
    that does not say how many it uses, the largest value; 0 for others. `bits` is by how many such images were read.
    """

    digests: bytes
    facts: npt.NDArray[np.int64]
    bad: dict[int, str]
    bits: int


def build_images(
    target: Path,
    root: Path,
    paths: Sequence[str],
    states: FileStates,
    size: int,
    resize: Resize,
    depth: Depth | None,
    progress: Progress | None,
) -> Built:
    """Decode the images into `target`, a .npy file of uint8 [N, size, size, 3].

    A row that is not a readable image is black. Images with more than 8 bits are read by `depth`; without it by the
    smallest one that holds all of their values, for which they are decoded twice. `progress` is called with the
    images done and all. Raises `DatasetError` when a decoding process is killed, `OSError` when the disk is full.
    """
    offset = _reserve(target, (len(paths), size, size, 3))
    plan = _Plan(target, offset, root, paths, states, size, resize)
    built = _gathered(plan, plan.chunks(range(len(paths)), depth or FULL_DEPTH), progress)
    deep = np.flatnonzero(built.facts[:, 2]).tolist()
    told = depth.bits if depth else None
    found = told or (bits_of(int(built.facts[:, 2].max())) if deep else ALL_BITS)
    if told is None and found < ALL_BITS:
        for chunk in _decoded(list(plan.chunks(deep, Depth(found))), parallel=plan.parallel):
            built.bad.update(chunk.bad)
    _flush(target)
    return replace(built, bits=found)


def _gathered(plan: _Plan, chunks: Iterator[Chunk], progress: Progress | None) -> Built:
    """Decode all rows once and put together what is known of each."""
    count = len(plan.paths)
    digests = bytearray(DIGEST_BYTES * count)
    facts = np.zeros((count, 3), dtype=np.int64)
    bad: dict[int, str] = {}
    done = 0
    for chunk in _decoded(list(chunks), parallel=plan.parallel):
        for row, digest in zip(chunk.rows, chunk.digests, strict=True):
            digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] = digest
        facts[list(chunk.rows)] = chunk.facts
        bad |= chunk.bad
        done += len(chunk.rows)
        if progress:
            progress(done, count)
    return Built(bytes(digests), facts, bad, ALL_BITS)


@dataclass(frozen=True)
class _Plan:
    """What is decoded into which file."""

    target: Path
    offset: int
    root: Path
    paths: Sequence[str]
    states: FileStates
    size: int
    resize: Resize

    @property
    def parallel(self) -> bool:
        return self.states.total_bytes >= PARALLEL_FROM_BYTES

    def chunks(self, rows: Sequence[int], depth: Depth) -> Iterator[Chunk]:
        unreadable = self.states.unreadable
        for first in range(0, len(rows), CHUNK_IMAGES):
            part = tuple(rows[first : first + CHUNK_IMAGES])
            yield Chunk(
                target=self.target,
                offset=self.offset,
                root=self.root,
                rows=part,
                paths=tuple(self.paths[row] for row in part),
                unreadable={row: unreadable[row] for row in part if row in unreadable},
                size=self.size,
                resize=self.resize,
                depth=depth,
            )


def _reserve(target: Path, shape: tuple[int, ...]) -> int:
    """Write the header and claim the space, so that a full disk shows now; returns where pixels begin."""
    with target.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        offset = file.tell()
        file.flush()
        _claim(file, offset, int(np.prod(shape)))
    return offset


def _claim(file: IO[bytes], offset: int, count: int) -> None:
    """Let a file have `count` bytes from an offset: by the system, or where it cannot, as macOS, by writing them."""
    claim: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
    if claim is not None:
        claim(file.fileno(), 0, offset + count)
        return
    for start in range(0, count, CLAIMED_AT_ONCE):
        file.write(bytes(min(CLAIMED_AT_ONCE, count - start)))


def _decoded(chunks: list[Chunk], parallel: bool) -> Iterator[DecodedChunk]:
    if not parallel:
        yield from map(decode_chunk, chunks)
        return
    pool = decoding_pool(len(chunks))
    try:
        for future in as_completed([pool.submit(decode_chunk, chunk) for chunk in chunks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise DatasetError(
            "a process that decodes images was killed, perhaps because memory ran out; run again, with a smaller "
            "stored_size or image_size if it happens again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def decode_chunk(chunk: Chunk) -> DecodedChunk:
    """Decode the files of a chunk and write the pixels at their place."""
    pixels = np.zeros((len(chunk.paths), chunk.size, chunk.size, 3), dtype=np.uint8)
    digests, facts, bad = [], [], {}
    for place, (row, path) in enumerate(zip(chunk.rows, chunk.paths, strict=True)):
        data, fact = b"", (0, 0, 0)
        try:
            data = _read(chunk, row, path)
            found = decode_square(data, chunk.size, chunk.resize, chunk.depth)
            pixels[place], fact = found.pixels, (*found.of_file, found.largest)
        except BadImage as error:
            bad[row] = str(error)
        digests.append(hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest())
        facts.append(fact)
    _write(chunk, pixels)
    return DecodedChunk(chunk.rows, tuple(digests), tuple(facts), bad)


def _read(chunk: Chunk, row: int, path: str) -> bytes:
    reason = chunk.unreadable.get(row)
    if reason:
        raise BadImage(reason)
    try:
        return steadily(_content, f"{chunk.root}/{path}")
    except OSError as error:
        raise BadImage(str(error.strerror)) from error


def _content(path: str) -> bytes:
    # unbuffered and without pathlib: a third of the time of Path.read_bytes for small files
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read()


def _write(chunk: Chunk, pixels: npt.NDArray[np.uint8]) -> None:
    """Write without mapping the file: a disk that fills up is then an error and no crash (SIGBUS)."""
    each = pixels[0].nbytes
    in_a_row = chunk.rows[-1] - chunk.rows[0] == len(chunk.rows) - 1
    with chunk.target.open("r+b") as file:
        if in_a_row:
            file.seek(chunk.offset + chunk.rows[0] * each)
            file.write(pixels.data)
            return
        for row, image in zip(chunk.rows, pixels, strict=True):
            file.seek(chunk.offset + row * each)
            file.write(image.data)


def _flush(target: Path) -> None:
    with target.open("rb") as file:
        os.fsync(file.fileno())
