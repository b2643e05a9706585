"""The decode cache: every image decoded once, for all trials, workers and studies.

An entry is found by the fingerprint of the files (names, sizes, times) and named by the digest of
their content:

    FINGERPRINT.json            which entry holds these files, and which of them are no images
    DIGEST-SIZE-RESIZE-V.npy    uint8 [N, SIZE, SIZE, 3], V the decoder's version
    FINGERPRINT.PID.partial     an entry being built
    FINGERPRINT.lock            held while it is; the kernel frees it when the builder is killed
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sweeper.data.build import Progress, build_images
from sweeper.data.decode import DECODER_VERSION, Pixels, Resize
from sweeper.data.fingerprint import FileStates, file_states, fingerprint
from sweeper.data.index import ImageIndex
from sweeper.data.listing import enumerated
from sweeper.errors import DatasetError


@dataclass(frozen=True)
class CachedImages:
    """Decoded images, the digest of the files they come from, and the rows that are no images."""

    images: Pixels
    digest: str
    bad: dict[int, str]
    name: str
    """Of the decoded bytes: from the digest, their size and how they were decoded."""


@dataclass(frozen=True)
class _Entry:
    """What FINGERPRINT.json holds."""

    digest: str
    bad: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class ImageCache:
    """The cache in one folder, for images of one size."""

    folder: Path
    size: int
    resize: Resize

    def open(self, index: ImageIndex, *, skip_bad: bool, progress: Progress | None = None) -> CachedImages:
        """Return the decoded images of an index, decoding them first if that has not been done.

        Rows come in the order of the index. Raises `DatasetError` with the list of files that are no
        readable images, unless `skip_bad`; then they are black and named in the result.
        """
        states = file_states(index.root, index.paths)
        key = fingerprint(index.root, index.paths, states, self.size, self.resize)
        found = self._load(key, len(index.paths))
        if found is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._building(key):
                found = self._load(key, len(index.paths))  # another process may just have built it
                if found is None:
                    entry = self._build(key, index, states, progress, skip_bad=skip_bad)
                    found = self._map(entry, len(index.paths))
        if found.bad and not skip_bad:
            raise bad_images(index, found.bad)
        return found

    def _load(self, key: str, count: int) -> CachedImages | None:
        """Return the entry of a key, or None where there is none or it is damaged."""
        try:
            stored = json.loads((self.folder / f"{key}.json").read_text())
            entry = _Entry(str(stored["digest"]), tuple((int(row), str(reason)) for row, reason in stored["bad"]))
            return self._map(entry, count)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _map(self, entry: _Entry, count: int) -> CachedImages:
        path = self._images(entry.digest)
        # copy-on-write, since torch warns about read-only arrays; nobody writes
        images: Pixels = np.lib.format.open_memmap(path, mode="c")
        if images.shape != (count, self.size, self.size, 3) or images.dtype != np.uint8:
            raise ValueError(f"{path}: not the images it is named for")
        return CachedImages(images, entry.digest, dict(entry.bad), path.stem)

    def _images(self, digest: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{32}", digest):
            raise ValueError(f"not a digest: {digest!r}")
        return self.folder / f"{digest}-{self.size}-{self.resize}-{DECODER_VERSION}.npy"

    def _build(
        self, key: str, index: ImageIndex, states: FileStates, progress: Progress | None, *, skip_bad: bool
    ) -> _Entry:
        partial = self.folder / f"{key}.{os.getpid()}.partial"
        try:
            digest, bad = build_images(partial, index.root, index.paths, states, self.size, self.resize, progress)
            if bad and not skip_bad:
                raise bad_images(index, bad)
            states = file_states(index.root, index.paths)
            if fingerprint(index.root, index.paths, states, self.size, self.resize) != key:
                raise DatasetError(f"{index.root}: files changed while they were being decoded; run again")
            os.replace(partial, self._images(digest))  # noqa: PTH105
            entry = _Entry(digest, tuple(bad.items()))
            self._store(key, entry)
            return entry
        except OSError as error:
            raise DatasetError(
                f"{self.folder}: {len(index.paths):,} decoded images need "
                f"{len(index.paths) * self.size**2 * 3 / 1e9:.2f} GB, which could not be written ({error.strerror}); "
                "free some space, or use a smaller stored_size or dataset.limit"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _store(self, key: str, entry: _Entry) -> None:
        """Write the entry last: until it is there, the images beside it are not found."""
        partial = self.folder / f"{key}.{os.getpid()}.json.partial"
        with partial.open("w") as file:
            json.dump(asdict(entry), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.folder / f"{key}.json")  # noqa: PTH105

    @contextmanager
    def _building(self, key: str) -> Iterator[None]:
        """Wait to be the only one who builds this key, and sweep away what killed builders left."""
        with (self.folder / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._sweep(key)
            yield

    def _sweep(self, own: str) -> None:
        for partial in self.folder.glob("*.partial"):
            key = partial.name.split(".")[0]
            if key == own:
                partial.unlink(missing_ok=True)
                continue
            with (self.folder / f"{key}.lock").open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue  # its builder is alive
                partial.unlink(missing_ok=True)


def bad_images(index: ImageIndex, bad: dict[int, str]) -> DatasetError:
    """Make the error that lists the files that are no readable images."""
    lines = [f"{index.paths[row]}: {reason}" for row, reason in sorted(bad.items())]
    return DatasetError(
        f"{index.root}: every file with an image's name must be a readable image, {len(bad):,} are not:\n"
        f"{enumerated(lines, limit=20)}\nReplace or remove them, or leave them out with dataset.on_bad_image: skip."
    )
