"""Decoding all images of a data set, in parallel processes, into one file.

The processes import PIL and NumPy only and write their pixels straight into the file, so that
nothing but a digest and the reasons for failures travels between them.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeper.child_process import live_with_parent
from sweeper.data.decode import BadImage, Resize, decode
from sweeper.data.fingerprint import FileStates
from sweeper.errors import DatasetError

Progress = Callable[[int, int], None]

CHUNK_IMAGES = 64
PARALLEL_FROM_BYTES = 4 << 20  # below, starting processes takes longer than decoding


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows of the cache: what to decode and where to write it."""

    target: Path
    offset: int
    first_row: int
    root: Path
    paths: tuple[str, ...]
    unreadable: dict[int, str]
    size: int
    resize: Resize


@dataclass(frozen=True)
class DecodedChunk:
    """One digest a file, in order, and the reason for every row that could not be decoded."""

    first_row: int
    digests: tuple[bytes, ...]
    bad: dict[int, str]


def build_images(
    target: Path,
    root: Path,
    paths: Sequence[str],
    states: FileStates,
    size: int,
    resize: Resize,
    progress: Progress | None,
) -> tuple[str, dict[int, str]]:
    """Decode the images into `target`, a .npy file of uint8 [N, size, size, 3].

    Returns the content digest and the reason for every row that is no readable image; such a row
    is black. `progress` is called with the images done and all. Raises `DatasetError` when a
    decoding process is killed, `OSError` when the disk is full.
    """
    offset = _reserve(target, (len(paths), size, size, 3))
    chunks = list(_chunks(target, offset, root, paths, states.unreadable, size, resize))
    decoded: list[DecodedChunk] = []
    done = 0
    for chunk in _decoded(chunks, parallel=states.total_bytes >= PARALLEL_FROM_BYTES):
        decoded.append(chunk)
        done += len(chunk.digests)
        if progress:
            progress(done, len(paths))
    _flush(target)
    decoded.sort(key=lambda chunk: chunk.first_row)
    content = hashlib.blake2b(b"".join(digest for chunk in decoded for digest in chunk.digests), digest_size=16)
    return content.hexdigest(), {row: reason for chunk in decoded for row, reason in chunk.bad.items()}


def _reserve(target: Path, shape: tuple[int, ...]) -> int:
    """Write the header and claim the space, so that a full disk shows now; returns where pixels begin."""
    with target.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        offset = file.tell()
        file.flush()
        os.posix_fallocate(file.fileno(), 0, offset + int(np.prod(shape)))
    return offset


def _chunks(
    target: Path,
    offset: int,
    root: Path,
    paths: Sequence[str],
    unreadable: dict[int, str],
    size: int,
    resize: Resize,
) -> Iterator[Chunk]:
    for first in range(0, len(paths), CHUNK_IMAGES):
        rows = range(first, min(first + CHUNK_IMAGES, len(paths)))
        yield Chunk(
            target=target,
            offset=offset + first * size * size * 3,
            first_row=first,
            root=root,
            paths=tuple(paths[first : rows.stop]),
            unreadable={row: unreadable[row] for row in rows if row in unreadable},
            size=size,
            resize=resize,
        )


def _decoded(chunks: list[Chunk], parallel: bool) -> Iterator[DecodedChunk]:
    if not parallel:
        yield from map(decode_chunk, chunks)
        return
    workers = min(len(os.sched_getaffinity(0)), len(chunks))
    # spawned, since a forked child of a process with threads (torch, MLflow) may deadlock
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=live_with_parent)
    try:
        for future in as_completed([pool.submit(decode_chunk, chunk) for chunk in chunks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise DatasetError(
            "a process that decodes images was killed, perhaps for want of memory; "
            "run again, with a smaller stored_size or image_size if it happens again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def decode_chunk(chunk: Chunk) -> DecodedChunk:
    """Decode the files of a chunk and write the pixels at their place."""
    pixels = np.zeros((len(chunk.paths), chunk.size, chunk.size, 3), dtype=np.uint8)
    digests, bad = [], {}
    for place, path in enumerate(chunk.paths):
        data = b""
        try:
            data = _read(chunk, place, path)
            pixels[place] = decode(data, chunk.size, chunk.resize)
        except BadImage as error:
            bad[chunk.first_row + place] = str(error)
        digests.append(hashlib.blake2b(data, digest_size=16).digest())
    _write(chunk, pixels)
    return DecodedChunk(chunk.first_row, tuple(digests), bad)


def _read(chunk: Chunk, place: int, path: str) -> bytes:
    reason = chunk.unreadable.get(chunk.first_row + place)
    if reason:
        raise BadImage(reason)
    try:
        # unbuffered and without pathlib: a third of the time of Path.read_bytes for small files
        with open(f"{chunk.root}/{path}", "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        raise BadImage(str(error.strerror)) from error


def _write(chunk: Chunk, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """Write without mapping the file: a disk that fills up is then an error and no crash (SIGBUS)."""
    with chunk.target.open("r+b") as file:
        file.seek(chunk.offset)
        file.write(pixels.data)


def _flush(target: Path) -> None:
    with target.open("rb") as file:
        os.fsync(file.fileno())
