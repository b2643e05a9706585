"""Files on their way between driver and nodes, in pieces of bounded size: through Ray, or through a shared folder."""

from __future__ import annotations

import hashlib
import logging
import posixpath
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sweeper.credentials import hide_credentials
from sweeper.errors import StudyError, SweeperError, first_line
from sweeper.files import whole_file
from sweeper.safeguards.extras import how_to_install

PIECE_BYTES = 16 * 2**20

SMALL_BYTES = 64 * 2**10
"""A piece of up to this size goes with the message that names it. Ray's store lets nodes fetch from each other what one
of them has, and waits for minutes where they cannot reach each other."""

RETRIES_S = (0.5, 2.0, 8.0)
"""Between the tries to reach a store that may be away for a moment."""

OF_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"}
"""File systems that have no folders, and would make a bucket that is not there: its name may be mistyped."""

logger = logging.getLogger(__name__)

T = TypeVar("T")

Piece = Any
"""Content, a reference to an object in Ray's store, or the name of a file in the shared folder."""


class ArrivedDamaged(SweeperError):
    """A file is not what was sent."""


class NotArrived(StudyError):
    """A piece of a file cannot be left for the other side, or cannot be had from where that has left it."""


@dataclass(frozen=True)
class Shipment:
    """A file on its way: its pieces in order, and the digest of all of it."""

    pieces: Sequence[Piece]
    digest: str


class Carrier(Protocol):
    """Takes pieces from one machine to another."""

    def put(self, content: bytes) -> Piece:
        """Leave a piece where the other side can get it."""

    def get(self, piece: Piece) -> bytes:
        """Return a piece that the other side has left."""

    def drop(self, pieces: Sequence[Piece]) -> None:
        """Remove pieces that have arrived."""


class RayCarrier:
    """Pieces are objects of Ray's store, which go when nobody refers to them; small ones are in the message itself."""

    def put(self, content: bytes) -> Piece:
        if len(content) <= SMALL_BYTES:
            return content
        import ray

        return ray.put(content)

    def get(self, piece: Piece) -> bytes:
        if isinstance(piece, bytes):
            return piece
        import ray

        return bytes(ray.get(piece))

    def drop(self, pieces: Sequence[Piece]) -> None:
        pass


class SharedCarrier:
    """Pieces are files below an address that fsspec knows: a mounted folder, `s3://bucket/folder`, `gs://…`.

    Each sender has a folder of its own, so that none ever writes where another has written.

    Raises StudyError where the address is not valid, or nothing can be written there.
    """

    def __init__(self, address: str, sender: str):
        self._address = hide_credentials(address)
        self._told_of_left = False
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(address)
            self._folder = posixpath.join(self._root, sender)
            _tried(self._try_out)
        except ImportError as error:
            raise StudyError(f"engine.shared, {self._address}: {error}. For s3://: {how_to_install('s3')}") from error
        except Exception as error:  # of any of the file systems that there are
            told = f"cannot be used ({type(error).__name__}: {hide_credentials(first_line(error))})"
            remedy = "correct it, or the credentials that its file system reads"
            raise StudyError(f"engine.shared, {self._address}: {told}; {remedy}") from error

    def _try_out(self) -> None:
        """Leave a file and remove it again."""
        protocols = self._files.protocol
        if OF_BUCKETS.isdisjoint([protocols] if isinstance(protocols, str) else protocols):
            self._files.makedirs(self._folder, exist_ok=True)
        name = posixpath.join(self._folder, f"{uuid.uuid4().hex}.probe")
        self._files.pipe_file(name, b"probe")
        self.drop([name])

    def put(self, content: bytes) -> Piece:
        """Leave a piece. Raises NotArrived."""
        name = posixpath.join(self._folder, uuid.uuid4().hex)
        with self._not_arrived():
            _tried(lambda: self._files.pipe_file(name, content))
        return name

    def get(self, piece: Piece) -> bytes:
        """Return a piece. Raises NotArrived, so that no one takes that for trouble with the disk here."""
        with self._not_arrived():
            found: bytes = _tried(lambda: self._files.cat_file(piece))
        return found

    @contextmanager
    def _not_arrived(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any of the file systems that there are
            told = f"cannot be reached ({type(error).__name__}: {hide_credentials(first_line(error))})"
            needs = "all machines must be able to read and write there; then the same command goes on"
            raise NotArrived(f"engine.shared, {self._address}: {told}; {needs}") from error

    def drop(self, pieces: Sequence[Piece]) -> None:
        """Remove pieces; one that a store does not let go stays, since all of it has arrived."""
        try:
            for piece in pieces:
                if self._files.exists(piece):
                    self._files.rm_file(piece)
        except Exception as error:
            level = logging.DEBUG if self._told_of_left else logging.WARNING
            self._told_of_left = True
            logger.log(level, "files stay in %s: %s", self._address, hide_credentials(first_line(error)))

    def remove_all_of(self, driver: str) -> None:
        """Remove what a driver that was killed, and its slots, have left; a store that is away keeps it."""
        try:
            names = [posixpath.basename(found.rstrip("/")) for found in self._files.ls(self._root, detail=False)]
            for name in names:
                if name == driver or name.startswith(f"{driver}-"):
                    self._files.rm(posixpath.join(self._root, name), recursive=True)
        except FileNotFoundError:  # an object store has no folder where nothing is
            return
        except Exception as error:
            logger.warning("files of %s stay in %s: %s", driver, self._address, hide_credentials(first_line(error)))

    def close(self, *others: str) -> None:
        """Remove the folder of this sender, and those of others that send no more; a store that is away keeps them."""
        for folder in (self._folder, *(posixpath.join(self._root, other) for other in others)):
            try:
                if self._files.exists(folder):
                    self._files.rm(folder, recursive=True)
            except Exception as error:
                logger.warning("%s stays in %s: %s", folder, self._address, hide_credentials(first_line(error)))


def carrier(shared: str | None, sender: str) -> RayCarrier | SharedCarrier:
    """Return what brings files to the other side."""
    return RayCarrier() if shared is None else SharedCarrier(shared, sender)


def send(carrier: Carrier, file: Path) -> Shipment:
    """Put a file on its way."""
    digest = hashlib.blake2b(digest_size=16)
    pieces = []
    for content in _read_in_pieces(file):
        digest.update(content)
        pieces.append(carrier.put(content))
    return Shipment(pieces, digest.hexdigest())


def receive(carrier: Carrier, shipment: Shipment, into: Path) -> None:
    """Write a file that was sent, whole or not at all. Raises ArrivedDamaged, NotArrived, and DiskError."""
    digest = hashlib.blake2b(digest_size=16)
    with whole_file(into) as file:
        for piece in shipment.pieces:
            content = carrier.get(piece)
            digest.update(content)
            file.write(content)
        if digest.hexdigest() != shipment.digest:
            raise ArrivedDamaged(f"{into.name} arrived with another content than it was sent with")


def _tried(action: Callable[[], T]) -> T:
    """Do something, and after a while again where it fails. Raises what it does in the end."""
    for wait_s in RETRIES_S:
        with suppress(Exception):  # of any of the file systems that there are; the last try raises it
            return action()
        time.sleep(wait_s)
    return action()


def _read_in_pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while content := opened.read(PIECE_BYTES):
            yield content
