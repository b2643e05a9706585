"""One image file to one square of pixels: by `picture`, or the quick way where a file is as plain as most are.

Runs in the decoding processes and when predicting: PIL and NumPy only, no torch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from multiprocessing.synchronize import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sweeper.data.picture.depth import Depth, bits_of
from sweeper.data.picture.formats import BadImage
from sweeper.data.picture.rgb import Decoded, Resize, decoded, square
from sweeper.data.plain_jpeg import decode_plain_jpeg

__all__ = ["BadImage", "Depth", "Resize", "bits_of"]

Pixels = npt.NDArray[np.uint8]

DECODER_VERSION = 2
"""Part of every cache key: raise it whenever `decode` gives other pixels than before."""

LARGE_PIXELS = 1 << 24
"""Of images above this only one is decoded at a time, whatever the number of processes: it may take a gigabyte."""

FULL_DEPTH = Depth()
OWN_DEPTH = Depth(bits=None)
"""Of single pictures that are looked at: each in its own range."""

_turn: AbstractContextManager[Any] = nullcontext()


def take_turns(lock: Lock) -> None:
    """Let this process decode large images only while it holds a lock that others wait for."""
    global _turn
    _turn = lock


def _room(pixels: int) -> AbstractContextManager[Any]:
    return _turn if pixels > LARGE_PIXELS else nullcontext()


class Square(NamedTuple):
    """An image as uint8 [S, S, 3], RGB; width and height of its file.

    `largest` is the largest value of an image with more than 8 bits that does not say how many it uses; else 0.
    """

    pixels: Pixels
    of_file: tuple[int, int]
    largest: int


def decode(data: bytes, size: int, resize: Resize, depth: Depth = OWN_DEPTH) -> Pixels:
    """Decode an image file into uint8 [size, size, 3], RGB.

    `resize` says how other shapes become square: cut the middle, distort, or add black borders.
    Raises `BadImage` when the bytes are empty, truncated, too large or no image.
    """
    return decode_square(data, size, resize, depth).pixels


def decode_square(data: bytes, size: int, resize: Resize, depth: Depth) -> Square:
    """Decode an image file as `decode` does, and return what is known of the file."""
    plain = decode_plain_jpeg(data, size)
    if plain is not None:
        return Square(plain, (size, size), 0)
    found = decoded(data, size, depth, _room)
    return Square(np.array(square(found.image, size, resize)), found.size, found.largest)


def decode_whole(data: bytes) -> Decoded:
    """Decode all pixels of an image file at their full size. Raises `BadImage` as `decode` does."""
    return decoded(data, None, OWN_DEPTH, _room)
