"""Any image to RGB: upright, on white where it is transparent, in little more memory than its own pixels take."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

from PIL import Image

from .depth import ALL_BITS, Depth, deep_image
from .formats import opened, reasons

Resize = Literal["crop", "squash", "pad"]
Rows = Callable[[int, int], Image.Image]
"""Gives the rows of an image from one to another, in 8 bits."""

Room = Callable[[int], AbstractContextManager[Any]]
"""Waits until there is memory for this many pixels, and keeps it for the time of the block."""

BAND_PIXELS = 1 << 22
"""Pixels that are converted at once."""

DRAFT_FACTOR = 2
"""JPEG and JPEG 2000 are decoded at no less than this times the side wanted, and filtered down from there."""

REDUCING_GAP = 3.0
"""Other large images are averaged by whole factors down to this times the side wanted, then filtered."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """An image in RGB, upright, perhaps reduced; size, mode and format of its file.

    `largest` is the largest value of an image with more than 8 bits that does not say how many it uses; else 0.
    """

    image: Image.Image
    size: tuple[int, int]
    mode: str
    format: str
    largest: int


def at_once(_pixels: int) -> AbstractContextManager[Any]:
    return nullcontext()


def decoded(data: bytes, size: int | None = None, depth: Depth = ALL_BITS, room: Room = at_once) -> Decoded:
    """Decode an image file into RGB, upright; a large one reduced as far as a square of `size` pixels allows.

    Raises `BadImage` when the bytes are empty, truncated, too large, of a format that is not read or no image.
    """
    with reasons(data):
        image = opened(data)
        of_file, mode = image.size, image.mode
        with room(image.width * image.height):
            if size is not None:
                _read_reduced(image, data, size)
            deep = deep_image(image, data)
            rows, largest = deep.read(depth) if deep else (_rows_of(image), 0)
            rgb = _put_together(rows, image.size, size)
        turn = TURNS.get(_orientation(image))
        return Decoded(rgb if turn is None else rgb.transpose(turn), of_file, mode, str(image.format), largest)


def _orientation(image: Image.Image) -> int:
    """Return how an image is turned by what its file says; upright where that cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow raises many kinds for damaged EXIF; the pixels are whole
        return 1


def square(image: Image.Image, size: int, resize: Resize) -> Image.Image:
    """Cut the middle out of an RGB image (crop), distort it (squash) or add black borders (pad)."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    if resize == "pad":
        return _padded(image, size)
    box: tuple[float, float, float, float] = (0, 0, width, height)
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box, reducing_gap=REDUCING_GAP)


def _padded(image: Image.Image, size: int) -> Image.Image:
    """Put an RGB image whole into the middle of a black square; however thin it is, a line of it is left."""
    width, height = image.size
    if width > height:
        inner = (size, max(1, round(height / width * size)))
    else:
        inner = (max(1, round(width / height * size)), size)
    square = Image.new("RGB", (size, size))
    left, top = (round((size - side) / 2) for side in inner)
    square.paste(image.resize(inner, Image.Resampling.BICUBIC), (left, top))
    return square


def _read_reduced(image: Image.Image, data: bytes, size: int) -> None:
    """Let a large JPEG or JPEG 2000 be decoded at a fraction of its size, which is quick and takes little memory."""
    side = DRAFT_FACTOR * size
    if min(image.size) < 2 * side:
        return
    if image.format == "JPEG2000":
        image.reduce = _halvings(image, data, side)  # type: ignore[method-assign, assignment]
    else:
        image.draft(None, (side, side))  # a JPEG only; others ignore it


def _halvings(image: Image.Image, data: bytes, side: int) -> int:
    """Return how often a JPEG 2000 may be halved down to `side`: at most as often as it has been when it was written.

    Pillow rounds the size to the nearest number and the format upwards: where they differ it cannot be read.
    """
    place = data.find(b"\xff\x52")  # the COD segment, in which byte 9 counts the halvings
    most = data[place + 9] if 0 < place < len(data) - 9 else 0
    possible = range(min(most, (min(image.size) // side).bit_length() - 1), 0, -1)
    exact = (n for n in possible if all(-(-edge >> n) == (edge + (1 << n >> 1)) >> n for edge in image.size))
    return next(exact, 0)


def _rows_of(image: Image.Image) -> Rows:
    image.load()
    return lambda top, bottom: image if bottom - top == image.height else image.crop((0, top, image.width, bottom))


def _on_white(image: Image.Image) -> Image.Image:
    """Convert to RGB, on white where it is transparent: the pages are white for which cut-outs and drawings are made.

    On black a black drawing on a transparent ground, a common kind, would vanish.
    """
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _put_together(rows: Rows, size: tuple[int, int], wanted: int | None) -> Image.Image:
    """Return an image from its rows, converted some at a time, and averaged where it is far larger than wanted."""
    width, height = size
    if width * height <= BAND_PIXELS:
        return _on_white(rows(0, height))
    factor = 1 if wanted is None else max(1, int(min(size) / wanted / REDUCING_GAP))
    step = -(-max(1, BAND_PIXELS // width) // factor) * factor
    whole = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, step):
        band = _on_white(rows(top, min(top + step, height)))
        whole.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return whole
