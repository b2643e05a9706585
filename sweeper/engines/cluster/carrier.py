"""Files on their way between driver and nodes, in pieces of bounded size: through Ray, or through a shared folder."""

from __future__ import annotations

import hashlib
import logging
import posixpath
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sweeper.credentials import hide_credentials
from sweeper.errors import StudyError, SweeperError, first_line
from sweeper.files import whole_file
from sweeper.safeguards.extras import how_to_install

PIECE_BYTES = 16 * 2**20

RETRIES_S = (0.5, 2.0)
"""Between the tries to read a piece from a store that may be away for a moment."""

logger = logging.getLogger(__name__)

Piece = Any
"""A reference to an object in Ray's store, or the name of a file in the shared folder."""


class ArrivedDamaged(SweeperError):
    """A file is not what was sent."""


class NotArrived(SweeperError):
    """A piece of a file cannot be had from where the other side has left it."""


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
    """Pieces are objects of Ray's store, which go when nobody refers to them."""

    def put(self, content: bytes) -> Piece:
        import ray

        return ray.put(content)

    def get(self, piece: Piece) -> bytes:
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
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(address)
            self._folder = posixpath.join(self._root, sender)
            self._files.makedirs(self._folder, exist_ok=True)
        except ImportError as error:
            raise StudyError(f"engine.shared, {self._address}: {error}. For s3://: {how_to_install('s3')}") from error
        except Exception as error:  # of any of the file systems that there are
            told = f"cannot be used ({type(error).__name__}: {hide_credentials(first_line(error))})"
            remedy = "correct it, or the credentials that its file system reads"
            raise StudyError(f"engine.shared, {self._address}: {told}; {remedy}") from error

    def put(self, content: bytes) -> Piece:
        name = posixpath.join(self._folder, uuid.uuid4().hex)
        self._files.pipe_file(name, content)
        return name

    def get(self, piece: Piece) -> bytes:
        found: bytes = self._files.cat_file(piece)
        return found

    def drop(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if self._files.exists(piece):
                self._files.rm_file(piece)

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
            content = _fetched(carrier, piece, into.name)
            digest.update(content)
            file.write(content)
        if digest.hexdigest() != shipment.digest:
            raise ArrivedDamaged(f"{into.name} arrived with another content than it was sent with")


def _fetched(carrier: Carrier, piece: Piece, name: str) -> bytes:
    """Return a piece. Raises NotArrived, so that no one takes that for trouble with the disk here."""
    for wait_s in (*RETRIES_S, None):
        try:
            return carrier.get(piece)
        except OSError as error:
            if wait_s is None:
                raise NotArrived(
                    f"{name} did not arrive: {error}; all machines must be able to read and write engine.shared"
                ) from error
            time.sleep(wait_s)
    raise AssertionError("the last try returns or raises")


def _read_in_pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while content := opened.read(PIECE_BYTES):
            yield content
