"""The decode cache: every image decoded once, for all trials, workers and studies.

An entry is found by the fingerprint of the files (names, sizes, times) and named by the digest of
their content:

    FINGERPRINT.json            which entry holds these files, which of them are not images, and what all are like
    FINGERPRINT.digests         16 bytes a file, by which it is known when its time has changed and not its content
    DIGEST-SIZE-RESIZE-BITS-V.npy   uint8 [N, SIZE, SIZE, 3], V the decoder's version; its digest in .npy.witness
    FINGERPRINT.PID.partial     an entry being built
    FINGERPRINT.lock            held while it is; the kernel frees it when the builder is killed
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sweeper.data.decode import DECODER_VERSION, Depth, Pixels, Resize
from sweeper.data.decode_all import DIGEST_BYTES, Built, build_images
from sweeper.data.file_facts import FileFacts
from sweeper.data.fingerprint import FileStates, file_states, fingerprint
from sweeper.data.index import ImageIndex
from sweeper.data.listing import enumerated
from sweeper.data.progress import Progress
from sweeper.errors import DatasetError
from sweeper.files import AlreadyLocked, file_lock, put_in_place, write_whole
from sweeper.safeguards.witness import require_as_written, vouch
from sweeper.seal import sealed, unsealed

logger = logging.getLogger(__name__)

UNFINISHED = ("*.partial", "*.digests.part", "*.json.part")
"""What a killed builder of the images of a key leaves: KEY.PID.partial, KEY.digests.part, KEY.json.part."""


@dataclass(frozen=True)
class CachedImages:
    """Decoded images, the digest of the files they come from, and the rows that are not images."""

    images: Pixels
    digest: str
    bad: dict[int, str]
    name: str
    """Of the decoded bytes: from the digest, their size and how they were decoded."""
    files: FileFacts
    digests: bytes
    """16 bytes a file."""


@dataclass(frozen=True)
class _Entry:
    """What FINGERPRINT.json holds."""

    digest: str
    bad: tuple[tuple[int, str], ...]
    files: FileFacts


@dataclass(frozen=True)
class ImageCache:
    """The cache in one folder, for images of one size; without `depth` the data show how many bits are used."""

    folder: Path
    size: int
    resize: Resize
    depth: Depth | None = None

    def open(self, index: ImageIndex, *, skip_bad: bool, progress: Progress | None = None) -> CachedImages:
        """Return the decoded images of an index, decoding them first if that has not been done.

        Rows come in the order of the index. Raises `DatasetError` with the list of files that are no
        readable images, unless `skip_bad`; then they are black and named in the result.
        """
        key = self._key(index, index.states)
        found = self._load(key, len(index.paths))
        if found is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._building(key):
                found = self._load(key, len(index.paths))  # another process may just have built it
                if found is None:
                    entry = self._build(key, index, progress, skip_bad=skip_bad)
                    found = self._map(key, entry, len(index.paths))
        if found.bad and not skip_bad:
            raise bad_images(index, found.bad)
        logger.info("decoded images: %s", self.folder / f"{found.name}.npy")
        return found

    def _key(self, index: ImageIndex, states: FileStates) -> str:
        return fingerprint(index.root, index.paths, states, self.size, self.resize, self.depth)

    def _load(self, key: str, count: int) -> CachedImages | None:
        """Return the entry of a key, or None where there is none or it is damaged."""
        try:
            stored = unsealed((self.folder / f"{key}.json").read_bytes())
            bad = tuple((int(row), str(reason)) for row, reason in stored["bad"])
            return self._map(key, _Entry(str(stored["digest"]), bad, FileFacts(**stored["files"])), count)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _map(self, key: str, entry: _Entry, count: int) -> CachedImages:
        path = self._images(entry.digest, entry.files.bits)
        digests = (self.folder / f"{key}.digests").read_bytes()
        require_as_written(path)
        # copy-on-write, since torch warns about read-only arrays; nobody writes
        images: Pixels = np.lib.format.open_memmap(path, mode="c")
        if images.shape != (count, self.size, self.size, 3) or images.dtype != np.uint8:
            raise ValueError(f"{path}: not the images it is named for")
        if len(digests) != DIGEST_BYTES * count or _joint(digests) != entry.digest:
            raise ValueError(f"{key}.digests: not of the files it is named for")
        return CachedImages(images, entry.digest, dict(entry.bad), path.stem, entry.files, digests)

    def _images(self, digest: str, bits: int) -> Path:
        if not re.fullmatch(r"[0-9a-f]{32}", digest) or not isinstance(bits, int):
            raise ValueError(f"not a digest and a number: {digest!r}, {bits!r}")
        depth = str(bits)  # found in the data: a tag in a file counts before
        if self.depth:
            depth += "known" if self.depth.tags_first else "named"  # of the images of a study, or by who names them
        return self.folder / f"{digest}-{self.size}-{self.resize}-{depth}-{DECODER_VERSION}.npy"

    def _build(self, key: str, index: ImageIndex, progress: Progress | None, *, skip_bad: bool) -> _Entry:
        partial = self.folder / f"{key}.{os.getpid()}.partial"
        try:
            built = build_images(
                partial, index.root, index.paths, index.states, self.size, self.resize, self.depth, progress
            )
            if built.bad and not skip_bad:
                raise bad_images(index, built.bad)
            if self._key(index, file_states(index.root, index.paths)) != key:
                raise DatasetError(f"{index.root}: files changed while they were being decoded; run again")
            return self._keep(key, partial, built)
        except OSError as error:
            raise DatasetError(
                f"{self.folder}: {len(index.paths):,} decoded images need "
                f"{len(index.paths) * self.size**2 * 3 / 1e9:.2f} GB, which could not be written "
                f"({error.strerror or error}); free some space, or use a smaller stored_size or dataset.limit"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _keep(self, key: str, partial: Path, built: Built) -> _Entry:
        """Put what was built in its place, the entry last: until it is there, the others are not found."""
        digest = _joint(built.digests)
        entry = _Entry(digest, tuple(sorted(built.bad.items())), FileFacts.of(built.facts, built.bits))
        put_in_place(partial, self._images(digest, built.bits))
        vouch(self._images(digest, built.bits))
        write_whole(self.folder / f"{key}.digests", built.digests)
        write_whole(self.folder / f"{key}.json", sealed(asdict(entry)))
        return entry

    @contextmanager
    def _building(self, key: str) -> Iterator[None]:
        """Wait to be the only one who builds this key, and sweep away what killed builders left."""
        with file_lock(self.folder / f"{key}.lock", blocking=True):
            self._sweep(key)
            yield

    def _sweep(self, own: str) -> None:
        for partial in [path for kind in UNFINISHED for path in self.folder.glob(kind)]:
            key = partial.name.split(".")[0]
            if key == own:
                partial.unlink(missing_ok=True)
                continue
            with suppress(AlreadyLocked), file_lock(self.folder / f"{key}.lock", blocking=False):  # its builder is dead
                partial.unlink(missing_ok=True)


def _joint(digests: bytes) -> str:
    return hashlib.blake2b(digests, digest_size=DIGEST_BYTES).hexdigest()


def bad_images(index: ImageIndex, bad: dict[int, str]) -> DatasetError:
    """Make the error that lists the files that are not readable images."""
    lines = [f"{index.paths[row]}: {reason}" for row, reason in sorted(bad.items())]
    return DatasetError(
        f"{index.root}: every image file must be readable, {len(bad):,} are not:\n"
        f"{enumerated(lines, limit=20)}\nReplace or remove them, or leave them out with dataset.on_bad_image: skip."
    )
