"""Images whose values have more than 8 bits: how many of them are used, and how they become 8.

Cameras, scanners and microscopes write 10, 12 or 14 bits into 16. Read as 16 bits such an image is black to the eye
and keeps a few grey levels, so the largest value of the bits that are used is white.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from .formats import FORMATS, BadImage

Values = npt.NDArray[Any]
Rows = Callable[[int, int], Image.Image]

FULL = 0xFFFF
BIT_DEPTHS = (8, 10, 12, 14, 16)
"""The depths that there are in use."""

BAND_PIXELS = 1 << 22
TIFF_BITS, TIFF_LARGEST = 258, (281, 341)


class Depth(NamedTuple):
    """How many bits of values with more than 8 are used: the largest value of this many bits is white.

    With `tags_first` a file that says its own depth is read by that. Without `bits` the largest value of each file
    decides, which suits single pictures that are looked at, and no data set.
    """

    bits: int | None = 16
    tags_first: bool = True


ALL_BITS = Depth()


class Extent(NamedTuple):
    """The largest value of an image, and which bits are set in any of its values."""

    largest: int
    used: int


class Deep(NamedTuple):
    """An image with more than 8 bits, of a format.

    `white` is its largest possible value where the format says so or the reader has scaled to it; `bits` what a tag
    says. `extent` looks at all values, `scaled` gives rows in 8 bits with the given white.
    """

    image_format: str | None
    white: int | None
    bits: int | None
    extent: Callable[[], Extent]
    scaled: Callable[[int], Rows]

    def read(self, depth: Depth) -> tuple[Rows, int]:
        """Return the rows, and the largest value where nothing but the data shows the depth. Raises BadImage."""
        if self.white is not None:
            return self.scaled(self.white), 0
        found = self.extent()
        if depth.tags_first and self.bits is not None and _are_low(found, self.bits):
            return self.scaled((1 << self.bits) - 1), 0
        if depth.tags_first and self.bits is not None and self.image_format == "PNG":  # scaled, as its standard asks
            return self.scaled(FULL), 0
        bits = depth.bits or bits_of(found.largest)
        if found.largest >= 1 << bits:
            raise BadImage(f"values up to {found.largest:,}, beyond the {bits} bits that are used (dataset.bits)")
        return self.scaled((1 << bits) - 1), found.largest


def _are_low(found: Extent, bits: int) -> bool:
    """Tell values of this many bits from those scaled to 16, as the PNG standard asks of who writes sBIT."""
    scaled = found.used & ((1 << (16 - bits)) - 1) == 0
    return found.largest < 1 << bits and not scaled


def bits_of(largest: int) -> int:
    """Return the smallest depth in use that holds a value."""
    return next((bits for bits in BIT_DEPTHS if largest < 1 << bits), 16)


def in_8_bits(values: Values, white: int) -> npt.NDArray[np.uint8]:
    """Scale values so that `white` becomes 255. Pillow's own conversion clips at 255 instead."""
    return ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)


def deep_image(image: Image.Image, data: bytes) -> Deep | None:
    """Return an image whose header has been read as one with more than 8 bits; None where it has not."""
    kind, offset, options = _pixels_of(image)
    if kind == "ppm" and options[1] > 0xFF:
        return _deep_ppm(image, data, offset, options[1])
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _deep_grey(image, *_declared(image, data, options))
    if ";16" in str(options[0]) and image.mode in ("RGB", "RGBA", "RGBX"):
        return _deep_colours(image, data, options[0], _declared(image, data, options)[1])
    return None


def _pixels_of(image: Image.Image) -> tuple[str, int, tuple[Any, ...]]:
    """Return the decoder that Pillow will use, where its data begin, and its options, the layout of pixels first."""
    tile = next(iter(getattr(image, "tile", ())), ("", None, 0, ""))
    return tile[0], tile[2], tile[3] if isinstance(tile[3], tuple) and tile[3] else (tile[3],)


def _declared(image: Image.Image, data: bytes, options: tuple[Any, ...]) -> tuple[int | None, int | None]:
    """Return the white of a file where that is certain, and the bits that its tags give, fewer than 16."""
    match image.format:
        case "TIFF":
            tags: Any = image.tag_v2  # type: ignore[attr-defined]
            bits = max(np.atleast_1d(tags.get(TIFF_BITS, 16)).tolist())
            told = [int(max(np.atleast_1d(tags[tag]).tolist())) for tag in TIFF_LARGEST if tag in tags]
            return (1 << bits) - 1 if 8 < bits < 16 else None, _fewer(bits_of(max(told))) if told else None
        case "JPEG2000":  # scaled by Pillow
            precision = (data[data.find(b"\xff\x51") + 40] & 0x7F) + 1
            return FULL if precision < 16 else None, None
        case "PPM":  # written in digits those below 65,535 are scaled by Pillow
            return FULL if len(options) > 1 and options[1] < FULL else None, None
        case "PNG":
            return None, _fewer(_significant_bits(data))
    return None, None


def _fewer(bits: int) -> int | None:
    return bits if 0 < bits < 16 else None


def _significant_bits(data: bytes) -> int:
    """Return the first value of a PNG's sBIT chunk; 0 where there is none before the pixels."""
    place = 8
    while place + 9 <= len(data) and (kind := data[place + 4 : place + 8]) != b"IDAT":
        if kind == b"sBIT":
            return data[place + 8]
        place += 12 + int.from_bytes(data[place : place + 4])
    return 0


def _deep_grey(image: Image.Image, white: int | None, bits: int | None) -> Deep:
    """Grey values as Pillow reads them."""
    image.load()

    def values(top: int, bottom: int) -> Values:
        return np.asarray(image.crop((0, top, image.width, min(bottom, image.height))))

    def extent() -> Extent:
        step = max(1, BAND_PIXELS // image.width)
        low, high, used = 0, 0, 0
        for top in range(0, image.height, step):
            band = values(top, top + step)
            low, high = min(low, int(band.min())), max(high, int(band.max()))
            used |= int(np.bitwise_or.reduce(band, axis=None))
        if low < 0 or high > FULL:
            raise BadImage(f"grey values from {low:,} to {high:,} are beyond 16 bits without sign; store 8 or 16 bits")
        return Extent(high, used)

    def scaled(white: int) -> Rows:
        key = image.info.get("transparency")

        def rows(top: int, bottom: int) -> Image.Image:
            found = values(top, bottom)
            grey = in_8_bits(found, white)
            if isinstance(key, int):
                grey[found == key] = 255  # on white, as whatever is transparent
            return Image.fromarray(grey)

        return rows

    return Deep(image.format, white, bits, extent, scaled)


def _deep_ppm(image: Image.Image, data: bytes, offset: int, highest: int) -> Deep:
    """Values of a binary PGM or PPM, which Pillow would read one by one, and colours with 8 bits."""
    channels = 3 if image.mode == "RGB" else 1
    flat = np.frombuffer(data, ">u2", offset=offset, count=image.width * image.height * channels)
    values = flat.reshape(image.height, image.width, *[channels] * (channels > 1))

    def scaled(white: int) -> Rows:
        return lambda top, bottom: Image.fromarray(in_8_bits(np.minimum(values[top:bottom], white), white))

    def extent() -> Extent:
        return Extent(int(values.max()), FULL)

    return Deep(image.format, None if highest == FULL else highest, None, extent, scaled)


def _deep_colours(image: Image.Image, data: bytes, raw: str, bits: int | None) -> Deep:
    """Colours of 16 bits; Pillow reads the upper 8, and the lower ones are read where fewer bits are used."""
    image.load()

    def extent() -> Extent:
        bands: Any = image.getextrema()[:3]
        return Extent(max(int(high) for _, high in bands) << 8 | 0xFF, FULL)

    def scaled(white: int) -> Rows:
        if white == FULL:
            return lambda top, bottom: image.crop((0, top, image.width, bottom))
        low = _lower_bytes(data, raw)

        def rows(top: int, bottom: int) -> Image.Image:
            part = (0, top, image.width, bottom)
            high = np.asarray(image.crop(part)).astype(np.uint16)
            values = high << 8 | np.asarray(low.crop(part))
            found = in_8_bits(np.minimum(values, white), white)
            if found.shape[2] == 4 and values[..., 3].max() > white:
                found[..., 3] = high[..., 3]  # opacity that uses all bits
            return Image.fromarray(found)

        return rows

    return Deep(image.format, None, bits, extent, scaled)


def _lower_bytes(data: bytes, raw: str) -> Image.Image:
    """Read the other byte of each pair of a colour image."""
    name, _, order = raw.partition(";16")
    if name not in ("RGB", "RGBA"):
        raise BadImage(f"16-bit {name} with fewer bits used is not read; store grey or RGB")
    image: Any = Image.open(io.BytesIO(data), formats=FORMATS)
    other = f"{name};16{'L' if order == 'B' else 'B'}"
    image.tile = [
        tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:])) for tile in image.tile
    ]
    image.load()
    found: Image.Image = image
    return found
