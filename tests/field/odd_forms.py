"""One picture in every form in which image files come, with what is right for each."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE = 16
RAMP = np.linspace(0, 255, SIDE * SIDE).reshape(SIDE, SIDE).round().astype(np.uint8)
"""256 grey levels, each once."""


def at_bits(bits: int) -> np.ndarray:
    """Return the ramp in this many bits: uint16 [16, 16]."""
    return (RAMP.astype(np.int64) * ((1 << bits) - 1) // 255).astype(np.uint16)


def png_of(values: np.ndarray, extra: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Write a PNG of 16 bits a channel, of uint16 [H, W] or [H, W, C], as Pillow cannot."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = values.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2] if values.ndim == 3 else 1]
    lines = b"".join(b"\0" + line.tobytes() for line in values.astype(">u2"))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    middle = b"".join(chunk(name, body) for name, body in extra)
    return b"\x89PNG\r\n\x1a\n" + head + middle + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def pnm_of(values: np.ndarray, highest: int) -> bytes:
    """Write a binary PGM or PPM of 16 bits."""
    magic = b"P6" if values.ndim == 3 else b"P5"
    return magic + f"\n{values.shape[1]} {values.shape[0]}\n{highest}\n".encode() + values.astype(">u2").tobytes()


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """Write a TIFF whose pixels are packed in 12 bits, as Pillow cannot."""
    bits = "".join(f"{value:012b}" for value in values.ravel().tolist())
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    height, width = values.shape
    entries = [(256, 3, width), (257, 3, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8 + 2 + 9 * 12 + 4)]
    entries += [(277, 3, 1), (278, 3, height), (279, 4, len(data))]
    written = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + written + struct.pack("<I", 0) + data


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def picture(side: int = 0, width: int = 48, height: int = 40) -> Image.Image:
    """A bright disc on the left or on the right of a noisy ground."""
    y, x = np.mgrid[:height, :width]
    middle = width * (0.25 if side == 0 else 0.75)
    disc = (x - middle) ** 2 + (y - height / 2) ** 2 < (height / 4) ** 2
    noise = np.random.default_rng(side).random((height, width))
    return Image.fromarray((60 * noise + 180 * disc).astype(np.uint8))


def odd_forms(side: int = 0) -> dict[str, bytes]:
    """Return one picture in all forms that are read, by the name of its file."""
    grey = picture(side)
    rgb = grey.convert("RGB")
    wide = np.asarray(grey).astype(np.uint16) * 257
    turned = Image.Exif()
    turned[0x0112] = 6
    alpha = Image.merge("LA", [grey, grey.point(lambda value: 255 - value)])
    large = grey.resize((1200, 1000), Image.Resampling.BICUBIC)
    return {
        "plain.png": saved(rgb, "PNG"),
        "plain.jpg": saved(rgb, "JPEG", quality=95),
        "grey.jpg": saved(grey, "JPEG", quality=95),
        "two_values.png": saved(grey.point(lambda value: 255 * (value > 120)).convert("1"), "PNG"),
        "deep.png": saved(Image.fromarray(wide), "PNG"),
        "deep.tif": saved(Image.fromarray(wide), "TIFF"),
        "deep_big_endian.tif": saved(Image.frombytes("I;16B", grey.size, wide.astype(">u2").tobytes()), "TIFF"),
        "deep.jp2": saved(Image.fromarray(wide), "JPEG2000"),
        "deep.pgm": pnm_of(wide, 65535),
        "deep_colours.png": png_of(np.stack([wide] * 3, axis=2)),
        "deep_colours.ppm": pnm_of(np.stack([wide] * 3, axis=2), 65535),
        "grey_alpha.png": saved(alpha, "PNG"),
        "alpha.webp": saved(alpha.convert("RGBA"), "WEBP", lossless=True),
        "palette.gif": saved(rgb.quantize(16), "GIF"),
        "palette_with_hole.png": saved(rgb.quantize(16), "PNG", transparency=0),
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG", quality=95),
        "turned.jpg": saved(rgb.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=turned),
        "turned.png": saved(rgb.transpose(Image.Transpose.ROTATE_90), "PNG", exif=turned),
        "large.jpg": saved(large, "JPEG"),
        "large.jp2": saved(large.convert("RGB"), "JPEG2000"),
        "large.png": saved(large.convert("RGBA"), "PNG"),
        "narrow.bmp": saved(rgb.resize((90, 20)), "BMP"),
        "modern.avif": saved(rgb, "AVIF"),
        "moving.gif": saved(rgb, "GIF", save_all=True, append_images=[rgb.point(lambda value: 255 - value)]),
        "digits.pgm": b"P2\n48 40\n255\n" + " ".join(map(str, np.asarray(grey).ravel().tolist())).encode(),
        "without_suffix": saved(rgb, "PNG"),
        "wrong_suffix.dat": saved(rgb, "JPEG", quality=95),
    }
