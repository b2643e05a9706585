"""What one image file is, looked at whole: size, mode, and marks by which copies of it are recognised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

from sweeper.data.decode import decode_whole

HASH_SIDE = 32
"""Side of the grey picture whose lowest frequencies are hashed."""
FREQUENCIES = 8
THUMBNAIL_SIDE = 16
MIRRORED = sum(1 << bit for bit in range(1, FREQUENCIES**2) if (bit % FREQUENCIES) % 2)
"""The bits of `look_hash` that change when the picture is mirrored: those of odd horizontal frequencies."""

Thumbnail = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class WholeImage:
    """Facts of a readable image.

    `file_digest` names its bytes, `pixel_digest` its upright RGB pixels and size. `look` is a hash of its look,
    63 bits; few differ between near copies. `thumbnail` is uint8 [16, 16] grey. `largest` is the largest
    value of an image with more than 8 bits that does not say how many it uses; else 0.
    """

    width: int
    height: int
    mode: str
    format: str
    file_digest: bytes
    pixel_digest: bytes
    look: int
    thumbnail: Thumbnail
    largest: int = 0


def look_at(data: bytes) -> WholeImage:
    """Decode a file at its full size and describe it. Raises `BadImage`."""
    whole = decode_whole(data)
    pixels = np.asarray(whole.image)
    grey = whole.image.convert("L")
    return WholeImage(
        width=whole.image.width,
        height=whole.image.height,
        mode=whole.mode,
        format=whole.format,
        file_digest=hashlib.blake2b(data, digest_size=16).digest(),
        pixel_digest=hashlib.blake2b(pixels.data, digest_size=16, salt=str(pixels.shape).encode()[:16]).digest(),
        look=look_hash(grey),
        thumbnail=np.asarray(grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)),
        largest=whole.largest,
    )


def look_hash(grey: Image.Image) -> int:
    """Return a bit for each of the 63 lowest frequencies of a picture: the sign of its coefficient.

    Bit 8 * row + column of the cosine transform; bit 0, the mean brightness, is left out. Size, compression,
    brightness and contrast change few of the signs, and mirroring exactly those in MIRRORED.
    """
    small = np.asarray(grey.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.BOX), dtype=np.float32)
    signs = (dctn(small, norm="ortho")[:FREQUENCIES, :FREQUENCIES] > 0).ravel()
    return int.from_bytes(np.packbits(signs, bitorder="little").tobytes(), "little") & ~1
