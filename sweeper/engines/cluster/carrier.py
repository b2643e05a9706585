"""Files on their way between driver and nodes, in pieces of bounded size: through Ray, or through a shared folder."""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sweeper.errors import SweeperError
from sweeper.files import whole_file

PIECE_BYTES = 16 * 2**20

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
    """

    def __init__(self, address: str, sender: str):
        import fsspec

        self._files, root = fsspec.core.url_to_fs(address)
        self._folder = posixpath.join(root, sender)
        self._files.makedirs(self._folder, exist_ok=True)

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

    def close(self) -> None:
        """Remove the folder of this sender."""
        if self._files.exists(self._folder):
            self._files.rm(self._folder, recursive=True)


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
    try:
        return carrier.get(piece)
    except OSError as error:
        raise NotArrived(
            f"{name} did not arrive: {error}; all machines must be able to read and write engine.shared"
        ) from error


def _read_in_pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while content := opened.read(PIECE_BYTES):
            yield content
