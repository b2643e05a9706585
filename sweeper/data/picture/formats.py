"""The formats that are opened, by their content, and what is said of all others."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import AvifImagePlugin, Image, Jpeg2KImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
"""What is opened, and nothing else: Pillow also knows formats that are programs, such as PostScript."""

READERS = (AvifImagePlugin, Jpeg2KImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""Named here so that Pillow has them: it would otherwise go through all formats that it knows."""

HEAD_BYTES = 256
"""Of a file, by which it is known what it is."""

IMAGES = re.compile(
    rb"\xff\xd8\xff"
    rb"|\x89PNG\r\n\x1a\n"
    rb"|RIFF....WEBP"
    rb"|GIF8[79]a"
    rb"|BM.{8}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
    rb"|II[\x2a\x2b]\0|MM\0[\x2a\x2b]"
    rb"|P[1-6]\s+(#[^\n]*\s+)*\d+\s+(#[^\n]*\s+)*\d+\s"
    rb"|....ftyp(avi[fs]|(mif1|msf1).{4}.{0,40}avi[fs])"
    rb"|\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
    re.DOTALL,
)
"""How files of the formats begin."""

FOREIGN = (
    (0, b"%!PS", "EPS (PostScript)"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS (PostScript)"),
    (0, b"%PDF", "PDF"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (0, b"\x01\x00\x09\x00\x00\x03", "WMF"),
    (40, b" EMF", "EMF"),
    (0, b"8BPS", "Photoshop"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypcrx", "camera raw"),
    (4, b"ftyp", "video"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (128, b"DICM", "DICOM"),
    (0, b"\x00\x00\x01\x00", "icon (ICO)"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"\x1f\x8b", "gzip"),
)
"""Place, bytes and name of what people take for images and what is not read."""

MAX_PIXELS = 100_000_000
"""A larger image is taken for a decompression bomb: a few kilobytes that would fill the memory."""


class BadImage(ValueError):
    """The bytes are not an image that can be decoded; the message is the reason."""


def is_image(head: bytes) -> bool:
    """Tell by the first bytes of a file whether it is of a format that is read."""
    return IMAGES.match(head) is not None


def foreign_kind(data: bytes) -> str:
    """Name what bytes are that are of no format that is read; empty where that is not known."""
    if b"<svg" in data[:1000].lower():
        return "SVG"
    return next((name for place, magic, name in FOREIGN if data[place : place + len(magic)] == magic), "")


def opened(data: bytes) -> Image.Image:
    """Read the header of an image of one of the formats. Raises BadImage for one that is too large."""
    image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(f"{image.width:,} x {image.height:,} is {_too_large()}")
    if image.mode == "F":
        raise BadImage("32-bit floating point pixels have no agreed white; store 8 or 16 bits")
    return image


def _too_large() -> str:
    return f"more than {MAX_PIXELS:,} pixels, taken for a decompression bomb; reduce it"


@contextmanager
def reasons(data: bytes) -> Iterator[None]:
    """Let every failure of Pillow be a `BadImage` with the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, and of large images, which `opened` refuses
        try:
            if not data:
                raise BadImage("the file is empty")
            yield
        except BadImage:
            raise
        except UnidentifiedImageError as error:
            kind = foreign_kind(data)
            named = f" but {kind}, which is never opened; convert it to PNG or JPEG" if kind else ""
            raise BadImage(f"not an image in a known format{named}") from error
        except Image.DecompressionBombError as error:
            raise BadImage(_too_large()) from error
        except Exception as error:  # damaged files raise nearly anything from within Pillow's parsers
            raise BadImage(f"damaged: {error}") from error
