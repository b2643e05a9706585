"""Which files of a list have exactly the same bytes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sweeper.data.decode import BadImage
from sweeper.data.fingerprint import file_states
from sweeper.data.image_file import read_image_file
from sweeper.data.splitting import Rows


def same_content(root: Path, paths: Sequence[str]) -> Rows:
    """Return for every file the first row that holds the same bytes, int64 [N]; its own where none does.

    Only files of equal size are read. One that cannot be read equals no other.
    """
    sizes = file_states(root, paths).table[:, 0]
    rows_of_size: dict[int, list[int]] = defaultdict(list)
    for row, size in enumerate(sizes.tolist()):
        rows_of_size[size].append(row)
    first = np.arange(len(paths))
    for rows in rows_of_size.values():
        if len(rows) > 1:
            _link_equal(root, paths, rows, first)
    return first


def _link_equal(root: Path, paths: Sequence[str], rows: Sequence[int], first: Rows) -> None:
    seen: dict[bytes, int] = {}
    for row in rows:
        try:
            data = read_image_file(str(root / paths[row]))
        except BadImage:
            continue
        first[row] = seen.setdefault(hashlib.blake2b(data, digest_size=16).digest(), row)
