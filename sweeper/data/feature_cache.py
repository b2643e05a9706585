"""The feature cache: what a frozen backbone makes of the images of a split, computed once for all trials.

A file is named by the digest of everything that its numbers depend on. It appears whole or not at
all, and ends in its own name, by which one that was cut short or put there by others is known:

    KEY.npy         float32 [N, D], in the order of the split, and KEY after the numbers
    KEY.npy.part    one being computed
    KEY.npy.witness by which one that was damaged later is known
    KEY.lock        held while it is; the kernel frees it when the builder is killed
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sweeper.files import file_lock, whole_file
from sweeper.safeguards.witness import require_as_written, vouch

logger = logging.getLogger(__name__)

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureKey:
    """Names features by what they were made of and by their shape, [rows, width]."""

    name: str
    rows: int
    width: int

    @classmethod
    def of(cls, described: Mapping[str, Any], rows: int, width: int) -> FeatureKey:
        """Return the key of a description, in plain values, of all that the numbers depend on."""
        content = json.dumps({**described, "rows": rows, "width": width}, sort_keys=True)
        return cls(hashlib.blake2b(content.encode(), digest_size=16).hexdigest(), rows, width)

    @property
    def seed(self) -> int:
        """A seed that follows from the key alone."""
        return int(self.name, 16)


@dataclass(frozen=True)
class FeatureCache:
    """The cache in one folder."""

    folder: Path

    def open(
        self,
        key: FeatureKey,
        compute: Callable[[FeatureKey], Iterable[Features]],
        at_work: Callable[[], None] = lambda: None,
    ) -> Features:
        """Return the features of a key, mapped into memory, writing them first where they are not there.

        `compute` gives them in consecutive parts [n, D], so that no more than one is held at a time.
        Of several processes that want the same one computes and the others wait. Each calls `at_work` meanwhile, now
        and then. Raises DiskError.
        """
        found = self._load(key)
        if found is not None:
            return found
        with file_lock(self.folder / f"{key.name}.lock", blocking=True, waiting=at_work):
            found = self._load(key)  # another process may just have computed them
            if found is None:
                logger.info("computing %d features of %d values: %s", key.rows, key.width, self._path(key))
                self._write(key, _telling(compute(key), at_work))
                found = self._map(key)
        return found

    def holds(self, key: FeatureKey) -> bool:
        """Return whether there are features of a key, whole."""
        return self._load(key) is not None

    def _path(self, key: FeatureKey) -> Path:
        return self.folder / f"{key.name}.npy"

    def _load(self, key: FeatureKey) -> Features | None:
        """Return the features of a key, or None where there are none or they are damaged."""
        try:
            return self._map(key)
        except (FileNotFoundError, ValueError):
            return None

    def _map(self, key: FeatureKey) -> Features:
        path = self._path(key)
        require_as_written(path)
        with path.open("rb") as file:
            file.seek(-min(len(key.name), path.stat().st_size), 2)
            ending = file.read()
        # copy-on-write, since torch warns about read-only arrays; nobody writes
        features: Features = np.lib.format.open_memmap(path, mode="c")
        whole = ending == key.name.encode() and features.shape == (key.rows, key.width)
        if not whole or features.dtype != np.float32:
            raise ValueError(f"{path}: not the features it is named for")
        return features

    def _write(self, key: FeatureKey, parts: Iterable[Features]) -> None:
        with whole_file(self._path(key)) as file:
            self._require_room(key)
            shape = (key.rows, key.width)
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            written = sum(_append(file, part) for part in parts)
            if written != key.rows:
                raise ValueError(f"{self._path(key)}: {key.rows} rows of features were expected, {written} came")
            file.write(key.name.encode())
        vouch(self._path(key))

    def _require_room(self, key: FeatureKey) -> None:
        """Raise OSError where the disk has no room for features: before they are computed."""
        needed, free = 4 * key.rows * key.width, shutil.disk_usage(self.folder).free
        if needed > free:
            room = f"{key.rows:,} rows of features take {needed / 1e6:,.1f} MB, and {free / 1e6:,.1f} MB are free"
            raise OSError(errno.ENOSPC, room)


def _telling(parts: Iterable[Features], at_work: Callable[[], None]) -> Iterator[Features]:
    """Yield parts, and tell of each."""
    for part in parts:
        at_work()
        yield part


def _append(file: BinaryIO, part: Features) -> int:
    file.write(np.ascontiguousarray(part, dtype="<f4").data)
    return len(part)
