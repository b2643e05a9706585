"""The quick way for the commonest file of small-image data sets: a plain JPEG of the right size.

For a 64-pixel JPEG most of PIL's time goes into reading its header in Python. Where there is
nothing to turn, convert or resize, the bytes go to PIL's decoder directly: the same pixels in about
half the time. Whatever is not plain, or fails, is left to `decode`, which also knows the reason.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

START_OF_IMAGE = b"\xff\xd8"
START_OF_SCAN = 0xDA
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
HARMLESS = (0xE0, 0xDB, 0xC4, 0xDD, 0xFE)  # JFIF, tables, restart interval, comment; no EXIF, no Adobe


def decode_plain_jpeg(data: bytes, size: int) -> npt.NDArray[np.uint8] | None:
    """Decode a three-channel JPEG of exactly `size` by `size` pixels, or return None for anything else."""
    if not _is_plain(data, size):
        return None
    try:
        image = Image.frombytes("RGB", (size, size), data, "jpeg", "RGB", "")
    except (ValueError, OSError):
        return None
    return np.frombuffer(bytearray(image.tobytes()), dtype=np.uint8).reshape(size, size, 3)


def _is_plain(data: bytes, size: int) -> bool:
    """Walk the segments of the header, each 0xFF, a marker and a length, as far as the pixels."""
    right_frame = False
    place = 2 if data.startswith(START_OF_IMAGE) else len(data)
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == START_OF_SCAN:
            return right_frame
        if marker in FRAMES:
            bits, height, width = data[place + 4], data[place + 5 : place + 7], data[place + 7 : place + 9]
            right_frame = bits == 8 and data[place + 9] == 3 and height == width == size.to_bytes(2)
        elif marker not in HARMLESS:
            return False
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return False
