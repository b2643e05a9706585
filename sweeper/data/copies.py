"""Which files of a data set have exactly the same bytes: looked up once, then known as long as no file changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from sweeper.data.fingerprint import FileStates, files_key
from sweeper.data.image_file import file_digests
from sweeper.data.progress import Progress
from sweeper.data.splitting import Rows
from sweeper.errors import DiskError
from sweeper.files import write_whole
from sweeper.safeguards.arrays import packed, unpacked

AT_ONCE = 256
READERS = 4


def copies(
    root: Path, paths: Sequence[str], states: FileStates, cache: Path, progress: Progress = lambda *_: None
) -> Rows:
    """Return for every file the first row that holds the same bytes, int64 [N]; its own where none does.

    Only files of equal size are read, and only the first time: `cache` is the folder in which the result is kept.
    """
    kept = cache / f"{files_key(root, paths, states)}.copies"
    first = _known(kept, len(paths))
    if first is None:
        first = same_content(root, paths, states, progress)
        later = np.flatnonzero(first != np.arange(len(first)))
        with suppress(DiskError):  # it is then looked up again
            write_whole(kept, packed(count=np.array(len(first)), copies=np.stack([later, first[later]])))
    return first


def _known(kept: Path, count: int) -> Rows | None:
    """Return what an earlier look has found; None where there was none or its file is damaged."""
    try:
        known, (later, before) = unpacked(kept.read_bytes(), "count", "copies")
        if int(known) != count:
            return None
        first = np.arange(count)
        first[later] = before
    except (OSError, ValueError, IndexError, TypeError):
        return None
    return first


def same_content(root: Path, paths: Sequence[str], states: FileStates, progress: Progress = lambda *_: None) -> Rows:
    """Look for files of equal bytes. One that cannot be read equals no other."""
    first = np.arange(len(paths))
    rows = _of_equal_size(states)
    seen: dict[bytes, int] = {}
    with ThreadPoolExecutor(READERS) as readers:  # they wait for the disk, and starting processes takes longer
        parts = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
        files = ([f"{root}/{paths[row]}" for row in part] for part in parts)
        for number, (part, digests) in enumerate(zip(parts, readers.map(file_digests, files), strict=True), 1):
            progress(min(number * AT_ONCE, len(rows)), len(rows))
            for row, digest in zip(part, digests, strict=True):
                if digest:
                    first[row] = seen.setdefault(digest, row)
    return first


def _of_equal_size(states: FileStates) -> list[int]:
    """Return the rows whose files have the size of another one, in their order."""
    rows_of_size: dict[int, list[int]] = defaultdict(list)
    for row, size in enumerate(states.table[:, 0].tolist()):
        if row not in states.unreadable:
            rows_of_size[size].append(row)
    return sorted(row for rows in rows_of_size.values() if len(rows) > 1 for row in rows)
