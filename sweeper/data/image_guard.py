"""Whether the images are still those that a study began with: looked up before each trial, by size and time alone.

Only where those differ are files read: one that was touched, copied back or linked anew is still the same image.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sweeper.config.dataset import DatasetConfig
from sweeper.data.decode_all import DIGEST_BYTES
from sweeper.data.fingerprint import FileStates, file_states
from sweeper.data.image_file import file_digests
from sweeper.data.index import read_listing
from sweeper.data.listing import enumerated
from sweeper.data.prepare import Prepared
from sweeper.errors import DatasetError, OtherImages
from sweeper.files import whole_file
from sweeper.paths import Workspace
from sweeper.safeguards.arrays import unpacked

KEPT = ("digest", "root", "paths", "table", "digests", "left_out", "lists", "list_digests", "complete")
SHARE_OF_TIME = 0.1
"""Most of a worker's time that is spent on looking; what was loaded before a change is not touched by it."""


@dataclass(frozen=True)
class ImagesAtStart:
    """The images of a data set: their paths, states and digests, and the lists that name them.

    `digest` is that of the data set; `left_out` are images that are in no split. `complete` lists alone say which
    images there are, whatever else lies in their folders.
    """

    digest: str
    root: Path
    paths: Sequence[str]
    table: npt.NDArray[np.int64]
    digests: bytes
    left_out: Sequence[str]
    lists: Sequence[str]
    list_digests: bytes
    complete: bool

    @classmethod
    def of(cls, prepared: Prepared) -> ImagesAtStart:
        index, lists = prepared.index, [str(file) for file in prepared.index.lists]
        return cls(
            digest=prepared.images.digest,
            root=index.root,
            paths=index.paths,
            table=index.states.table,
            digests=prepared.digests,
            left_out=index.left_out,
            lists=lists,
            list_digests=_joined(lists),
            complete=bool(index.notes.columns),
        )

    def write(self, path: Path) -> None:
        """Keep it on disk, whole. Raises DiskError."""
        named = {"root": [str(self.root)], "paths": self.paths, "left_out": self.left_out, "lists": self.lists}
        texts = {name: np.frombuffer(_packed(items), np.uint8) for name, items in named.items()}
        with whole_file(path) as file:
            np.savez(
                file,
                digest=np.array(self.digest),
                table=self.table,
                digests=np.frombuffer(self.digests, np.uint8),
                list_digests=np.frombuffer(self.list_digests, np.uint8),
                complete=np.array(self.complete),
                **texts,  # type: ignore[arg-type]
            )

    @classmethod
    def read(cls, path: Path) -> ImagesAtStart | None:
        """Return what was kept; None where nothing was, or its file is damaged."""
        try:
            kept = dict(zip(KEPT, unpacked(path.read_bytes(), *KEPT), strict=True))
            names = {name: _unpacked(kept[name].tobytes()) for name in ("root", "paths", "left_out", "lists")}
            return cls(
                digest=str(kept["digest"]),
                root=Path(names["root"][0]),
                paths=names["paths"],
                table=kept["table"],
                digests=kept["digests"].tobytes(),
                left_out=names["left_out"],
                lists=names["lists"],
                list_digests=kept["list_digests"].tobytes(),
                complete=bool(kept["complete"]),
            )
        except (OSError, ValueError, IndexError):
            return None


def _packed(items: Sequence[str]) -> bytes:
    return "\0".join(items).encode(errors="surrogateescape")


def _unpacked(content: bytes) -> list[str]:
    return content.decode(errors="surrogateescape").split("\0") if content else []


def _joined(files: Sequence[str]) -> bytes:
    """Return the digests of files, one after another; zeros for one that cannot be read."""
    return b"".join(digest or bytes(DIGEST_BYTES) for digest in file_digests(files))


class ImageGuard:
    """Looks whether images are those of `file`, which the driver has left; without it, it has nothing to say."""

    def __init__(self, file: Path, dataset: DatasetConfig, workspace: Workspace):
        self._then = ImagesAtStart.read(file)
        self._dataset = dataset
        self._workspace = workspace
        self._table = None if self._then is None else self._then.table.copy()
        self._next = 0.0

    def require(self, digest: str) -> None:
        """Raise OtherImages unless a data set that was just loaded is that of the study."""
        if self._then is not None and self._then.digest != digest:
            self._next = 0.0
            self.check()
            raise OtherImages(_told(self._then.root, [f"digest {digest}, then {self._then.digest}"]))

    def check(self) -> None:
        """Raise OtherImages, naming the files, when any was changed, added or removed since the study began."""
        started = time.monotonic()
        if self._then is None or self._table is None or started < self._next:
            return
        found = self._listed(self._then) or self._states(self._then, self._table)
        if found:
            raise OtherImages(_told(self._then.root, found))
        ended = time.monotonic()
        self._next = ended + (ended - started) / SHARE_OF_TIME

    def _listed(self, then: ImagesAtStart) -> list[str]:
        """Return lists that have changed, and images that have come or gone."""
        changed = [
            f"changed: {file}"
            for place, file in enumerate(then.lists)
            if _joined([file]) != then.list_digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        ]
        if changed or then.complete:
            return changed
        try:
            now = set(read_listing(self._dataset, self._workspace).paths)
        except DatasetError as error:
            return [str(error)]
        before = {*then.paths, *then.left_out}
        return [f"gone: {path}" for path in sorted(before - now)] + [f"new: {path}" for path in sorted(now - before)]

    def _states(self, then: ImagesAtStart, table: npt.NDArray[np.int64]) -> list[str]:
        """Return images whose content has changed; of those that are only dated otherwise the date is noted."""
        try:
            now = file_states(then.root, then.paths)
            other = np.flatnonzero((now.table != table).any(axis=1)).tolist()
            digests = file_digests([f"{then.root}/{then.paths[row]}" for row in other])
        except DatasetError as error:  # a disk does not give them: the same command goes on when it does
            return [str(error)]
        kept = (then.digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES] for row in other)
        changed = [row for row, digest, known in zip(other, digests, kept, strict=True) if digest != known]
        table[other] = now.table[other]
        return [_what(now, row, then.paths[row]) for row in changed]


def _what(now: FileStates, row: int, path: str) -> str:
    return f"gone: {path}" if row in now.unreadable else f"changed: {path}"


def _told(root: Path, found: Sequence[str]) -> str:
    return (
        f"{root}: the images have changed since the study began, and trials on other images cannot be compared:\n"
        f"{enumerated(found)}\nBring them back and run the same command again, or give the study another name."
    )
