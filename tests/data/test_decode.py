from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sweeper.data.decode import BadImage, decode
from sweeper.data.plain_jpeg import decode_plain_jpeg
from tests.pictures import encoded, picture

RAMP = np.linspace(0, 255, 16 * 16).reshape(16, 16).round().astype(np.uint8)


def grey_of(data: bytes) -> np.ndarray:
    pixels = decode(data, 16, "crop")
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_rgb_comes_out_unchanged(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert (decode(encoded(picture(1, 16, 16), kind, **options), 16, "crop") == np.asarray(picture(1, 16, 16))).all()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    assert (grey_of(encoded(Image.fromarray(RAMP), kind)) == RAMP).all()


def test_black_and_white_becomes_0_and_255() -> None:
    assert set(grey_of(encoded(Image.fromarray(RAMP > 99))).ravel()) == {0, 255}


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bit_grey_is_scaled_to_8_bits(mode: str) -> None:
    wide = RAMP.astype(np.int64) * 257
    kind: Any = {"I;16": np.uint16, "I;16B": np.dtype(">u2"), "I": np.int32}[mode]
    image = Image.frombytes(mode, (16, 16), wide.astype(kind).tobytes())
    assert image.mode == mode
    assert (grey_of(encoded(image, "TIFF")) == RAMP).all()


def test_16_bit_png_is_scaled_to_8_bits() -> None:
    image = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert (grey_of(encoded(image, "PNG")) == RAMP).all()


@pytest.mark.parametrize("value", [-5, 70_000])
def test_32_bit_grey_beyond_16_bits_is_refused(value: int) -> None:
    with pytest.raises(BadImage, match="beyond 16 bits"):
        decode(encoded(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF"), 4, "crop")


def test_float_pixels_are_refused() -> None:
    with pytest.raises(BadImage, match="floating point"):
        decode(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), 4, "crop")


def test_palette_colours_come_out_right() -> None:
    image = picture(2, 16, 16).quantize(200)
    assert (decode(encoded(image), 16, "crop") == np.asarray(image.convert("RGB"))).all()


def test_transparent_pixels_lie_on_white() -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[8:, :, 3] = 255
    pixels[:8, :8, 3] = 128
    decoded = decode(encoded(Image.fromarray(pixels)), 16, "crop")
    assert (decoded[8:] == 0).all()
    assert (decoded[:8, 8:] == 255).all()
    assert np.abs(decoded[:8, :8].astype(int) - 127).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA"])
def test_every_mode_with_alpha_is_laid_on_white(mode: str) -> None:
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0)).convert(mode)
    assert (decode(encoded(image, "TIFF" if mode == "PA" else "PNG"), 16, "crop") == 255).all()


def test_transparent_palette_entry_lies_on_white() -> None:
    image = Image.fromarray(np.tile(np.array([[0, 1]], np.uint8), (16, 8)), mode=None).convert("L")
    palette = Image.frombytes("P", (16, 16), image.tobytes())
    palette.putpalette([10, 20, 30, 200, 0, 0])
    decoded = decode(encoded(palette, transparency=0), 16, "crop")
    assert (decoded[:, ::2] == 255).all()
    assert (decoded[:, 1::2] == (200, 0, 0)).all()


def test_transparent_colour_of_rgb_lies_on_white() -> None:
    decoded = decode(encoded(Image.new("RGB", (16, 16), (1, 2, 3)), transparency=(1, 2, 3)), 16, "crop")
    assert (decoded == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_comes_out_in_its_colours(kind: str) -> None:
    decoded = decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind), 16, "crop")
    assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "LA"), ("TIFF", "RGB"), ("JPEG", "L")]
)
def test_exif_orientation_is_applied(kind: str, mode: str, orientation: int) -> None:
    pixels = np.full((16, 16, 3), 40, np.uint8)
    pixels[:8, :8], pixels[:8, 8:] = 240, 140
    image = Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, kind, exif=exif)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    assert np.abs(decode(data, 16, "crop").astype(int) - expected).max() <= 12


def test_crop_squash_and_pad_make_squares() -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 255
    data = encoded(Image.fromarray(pixels))
    assert (decode(data, 8, "crop") == 255).all()
    squashed = decode(data, 8, "squash")
    assert (squashed[:, [0, 7]] < 20).all()
    assert (squashed[:, 3:5] > 235).all()
    padded = decode(data, 16, "pad")
    assert (padded[:4] == 0).all()
    assert (padded[12:] == 0).all()
    assert (padded[4:12] == pixels).all()


@pytest.mark.parametrize("size", [(300, 2), (2, 300), (1000, 1), (64, 64), (64, 47), (47, 64)])
def test_padding_keeps_a_line_of_the_thinnest_image_and_is_else_as_in_pillow(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 60).convert("RGB").point(lambda value: max(60, value))
    padded = decode(encoded(image), 32, "pad")
    assert (padded.max(axis=2) > 0).sum() >= 32
    if min(size) > 2:
        assert (padded == np.asarray(ImageOps.pad(image, (32, 32), Image.Resampling.BICUBIC))).all()


def test_reducing_averages_instead_of_picking_pixels() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    decoded = decode(encoded(Image.fromarray(checks.astype(np.uint8))), 8, "crop")
    assert np.abs(decoded.astype(int) - 127).max() <= 3


def test_draft_of_a_large_jpeg_is_close_to_the_full_decode() -> None:
    smooth = picture(3, 16, 16).resize((512, 512), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=95)
    full = np.asarray(smooth.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(decode(data, 32, "crop").astype(int) - full).mean() < 2


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("L", (16, 16), value) for value in (10, 200)]
    assert (grey_of(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == 10).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"this is text\n" * 9, "not an image"),
        (encoded(picture(4, 64, 64), "JPEG")[:900], "damaged"),
        (encoded(picture(4, 64, 64), "PNG")[:900], "damaged"),
        (b"\xff\xd8\xff" + b"\0" * 99, "not an image"),
    ],
)
def test_bad_bytes_are_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode(data, 16, "crop")


@pytest.mark.parametrize(("width", "height"), [(50_000, 50_000), (12_000, 9_000)])
def test_decompression_bomb_is_refused_before_it_is_unpacked(width: int, height: int) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(BadImage, match="bomb"):
        decode(bomb, 16, "crop")


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"comment": b"hello"}, {"quality": 100}]
)
def test_quick_way_for_plain_jpegs_gives_the_same_pixels(options: dict[str, object]) -> None:
    data = encoded(picture(6, 24, 24), "JPEG", **options)
    quick = decode_plain_jpeg(data, 24)
    assert quick is not None
    assert (quick == np.asarray(Image.open(io.BytesIO(data)))).all()
    assert (decode(data, 24, "crop") == quick).all()


def test_quick_way_leaves_everything_else_alone() -> None:
    plain = encoded(picture(6, 24, 24), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    others = [
        encoded(picture(6, 24, 24), "JPEG", exif=exif),
        encoded(picture(6, 24, 23), "JPEG"),
        encoded(picture(6, 24, 24).convert("L"), "JPEG"),
        encoded(picture(6, 24, 24).convert("CMYK"), "JPEG"),
        encoded(picture(6, 24, 24), "PNG"),
        plain[:30],
        plain[: len(plain) // 2],
        b"",
    ]
    assert [decode_plain_jpeg(data, 24) for data in others] == [None] * len(others)


JPEG = encoded(picture(5, 40, 30), "JPEG")
PLAIN = encoded(picture(5, 16, 16), "JPEG")
PNG = encoded(picture(5, 20, 30), "PNG")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([JPEG, PLAIN, PNG]),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=9),
)
def test_damaged_bytes_give_pixels_or_a_reason_and_nothing_else(data: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with suppress(BadImage):
        assert decode(bytes(damaged), 16, "crop").shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_an_image_whose_exif_is_damaged_is_read_as_it_lies(kind: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2), (200, 0, 0)).save(buffer, kind, exif=b"Exif\0\0garbage that is no TIFF", lossless=True)
    assert decode(buffer.getvalue(), 2, "pad").shape == (2, 2, 3)
