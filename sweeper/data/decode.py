"""One image file to one square of pixels, whatever its format, colour mode and orientation.

Runs in the decoding processes and when predicting: PIL and NumPy only, no torch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from sweeper.data.plain_jpeg import decode_plain_jpeg

Pixels = npt.NDArray[np.uint8]
Resize = Literal["crop", "squash", "pad"]

DECODER_VERSION = 1
"""Part of every cache key: raise it whenever `decode` gives other pixels than before."""

MAX_PIXELS = 100_000_000
"""A larger image is taken for a decompression bomb: a few kilobytes that would fill the memory."""

DRAFT_FACTOR = 2
"""A JPEG is decoded at no less than this times the side wanted, and filtered down from there."""


class BadImage(ValueError):
    """The bytes are no image that can be decoded; the message is the reason."""


def decode(data: bytes, size: int, resize: Resize) -> Pixels:
    """Decode an image file into uint8 [size, size, 3], RGB.

    `resize` says how other shapes become square: cut the middle, distort, or add black borders.
    Raises `BadImage` when the bytes are empty, truncated, too large or no image.
    """
    if not data:
        raise BadImage("the file is empty")
    plain = decode_plain_jpeg(data, size)
    return _decode_any(data, size, resize) if plain is None else plain


def _decode_any(data: bytes, size: int, resize: Resize) -> Pixels:
    with _reasons():
        return np.array(_square(_upright(_opened(data, size)), size, resize))


@dataclass(frozen=True)
class Whole:
    """An image at its full size, upright and in RGB, and the mode and format of its file."""

    image: Image.Image
    mode: str
    format: str


def decode_whole(data: bytes) -> Whole:
    """Decode all pixels of an image file at their full size. Raises `BadImage` as `decode` does."""
    if not data:
        raise BadImage("the file is empty")
    with _reasons():
        opened = _opened(data, MAX_PIXELS)  # a size that no image is reduced to
        return Whole(_upright(opened), opened.mode, opened.format or "")


@contextmanager
def _reasons() -> Iterator[None]:
    """Let every failure of Pillow be a `BadImage` with the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns about odd metadata; the pixels are what counts
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except BadImage:
            raise
        except UnidentifiedImageError as error:
            raise BadImage("not an image in a known format") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise BadImage(f"more than {MAX_PIXELS:,} pixels, taken for a decompression bomb") from error
        except Exception as error:  # damaged files raise nearly anything from within PIL's parsers
            raise BadImage(f"damaged: {error}") from error


def _opened(data: bytes, size: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels, taken for a bomb")
    if min(image.size) >= 2 * DRAFT_FACTOR * size:
        image.draft(None, (DRAFT_FACTOR * size, DRAFT_FACTOR * size))  # a JPEG only; others ignore it
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Return the image in RGB, turned as its EXIF orientation says."""
    if image.mode != "RGB" or image.has_transparency_data:
        image = _in_rgb(image)
    return ImageOps.exif_transpose(image) if image.getexif() else image


def _in_rgb(image: Image.Image) -> Image.Image:
    exif = image.getexif()
    if image.mode == "F":
        raise BadImage("32-bit floating point pixels have no agreed white; store 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = _on_white(image)
    converted = image.convert("RGB")
    converted.getexif().update(exif)
    return converted


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits: 65535 is white. PIL's own conversion clips at 255 instead."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise BadImage("32-bit grey with values beyond 16 bits; store 8 or 16 bits")
    return Image.fromarray(((values * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white, as the pages are for which cut-outs and drawings are made.

    On black a black drawing on a transparent ground, a common kind, would vanish.
    """
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _square(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    width, height = image.size
    if (width, height) == (size, size):
        return image
    if resize == "pad":
        return ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color="black")
    box: tuple[float, float, float, float] = (0, 0, width, height)
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
