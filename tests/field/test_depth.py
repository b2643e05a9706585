"""Cameras, scanners and microscopes write 10, 12 or 14 bits into 16: they are images, and not black ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from sweeper.config.dataset import DatasetConfig
from sweeper.data.decode import FULL_DEPTH, BadImage, Depth, decode
from sweeper.data.image_set import ImageSet
from sweeper.data.other_images import other_images
from sweeper.data.picture import prepared
from sweeper.data.prepare import prepare, prepare_images
from sweeper.errors import DatasetError
from sweeper.paths import Workspace
from tests.field.odd_forms import RAMP, SIDE, at_bits, png_of, pnm_of, saved, tiff_of_12_bits

TWELVE = at_bits(12)
COLOURS = np.stack([TWELVE] * 3, axis=2)

FORMS = {
    "PNG": png_of(TWELVE),
    "TIFF": saved(Image.fromarray(TWELVE), "TIFF"),
    "TIFF, compressed": saved(Image.fromarray(TWELVE), "TIFF", compression="tiff_deflate"),
    "PGM": pnm_of(TWELVE, 65535),
    "JPEG 2000": saved(Image.fromarray(TWELVE), "JPEG2000"),
    "PNG in colours": png_of(COLOURS),
    "PNG in colours with opacity": png_of(np.concatenate([COLOURS, np.full((SIDE, SIDE, 1), 65535)], axis=2)),
    "PPM in colours": pnm_of(COLOURS, 65535),
}
"""Forms that do not say that 12 of their 16 bits are used."""

SAYING = {
    "packed TIFF": tiff_of_12_bits(TWELVE),
    "TIFF with MaxSampleValue": saved(Image.fromarray(TWELVE), "TIFF", tiffinfo={281: 4095}),
    "TIFF with SMaxSampleValue": saved(Image.fromarray(TWELVE), "TIFF", tiffinfo={341: 4095}),
    "PNG with sBIT": png_of(TWELVE, [(b"sBIT", b"\x0c")]),
    "PNG in colours with sBIT": png_of(COLOURS, [(b"sBIT", b"\x0c\x0c\x0c")]),
    "PGM with its largest value": pnm_of(TWELVE, 4095),
    "PPM with its largest value": pnm_of(COLOURS, 4095),
    "PNG scaled to 16 bits as its standard asks": png_of(TWELVE << 4 | TWELVE >> 8, [(b"sBIT", b"\x0c")]),
}
"""Forms that do say so."""


@pytest.mark.parametrize("form", FORMS)
def test_all_grey_levels_are_kept_where_the_depth_is_given(form: str) -> None:
    assert (decode(FORMS[form], SIDE, "crop", Depth(12)) == RAMP[..., None]).all()
    assert (decode(FORMS[form], SIDE, "crop", Depth(12, tags_first=False)) == RAMP[..., None]).all()


@pytest.mark.parametrize("form", SAYING)
def test_a_file_that_says_its_depth_is_read_by_that(form: str) -> None:
    assert (decode(SAYING[form], SIDE, "crop", FULL_DEPTH) == RAMP[..., None]).all()


@pytest.mark.parametrize("form", [*FORMS, *SAYING])
def test_an_export_reads_it_as_the_training_did(form: str) -> None:
    config = {"stored_size": SIDE, "image_size": SIDE, "resize": "crop", "mean": [0.0] * 3, "std": [1.0] * 3}
    inputs = prepared({**FORMS, **SAYING}[form], {**config, "depth": {"bits": 12, "tags_first": True}})
    assert (np.rint(inputs.transpose(1, 2, 0) * 255) == RAMP[..., None]).all()


def test_a_tag_that_the_values_contradict_does_not_count() -> None:
    wrong = saved(Image.fromarray(at_bits(16)), "TIFF", tiffinfo={281: 4095})
    assert (decode(wrong, SIDE, "crop", FULL_DEPTH) == RAMP[..., None]).all()


def test_values_beyond_the_depth_are_refused_and_not_clipped() -> None:
    with pytest.raises(BadImage, match=r"values up to 65,535, beyond the 12 bits that are used \(dataset\.bits\)"):
        decode(png_of(at_bits(16)), SIDE, "crop", Depth(12))


def write(root: Path, bits: int) -> None:
    """Write 8 images in which each value of the ramp stands somewhere."""
    for number in range(8):
        folder = root / "d" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(png_of(np.roll(at_bits(bits), number)))


def pixels(root: Path, **options: object) -> ImageSet:
    return prepare_images(DatasetConfig(path=str(root / "d"), **options), SIDE, Workspace(root))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_largest_value_of_all_images_says_how_many_bits_a_data_set_uses(tmp_path: Path, bits: int) -> None:
    write(tmp_path, bits)
    images = pixels(tmp_path)
    assert images.depth == Depth(bits)
    assert all(len(np.unique(image)) == 256 for image in images.images)


def test_a_depth_that_is_given_and_one_that_files_say_have_pixels_of_their_own(tmp_path: Path) -> None:
    """The first files are read as if nothing said that 10 bits are used, and stay so for studies that ask for it."""
    for name in "ab":
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(4):
            content = png_of(np.roll(at_bits(10), number + 4 * (name == "b")), [(b"sBIT", b"\x0a")])
            (tmp_path / "d" / name / f"{number}.png").write_bytes(content)
    said = pixels(tmp_path)
    before, name = said.images.mean(), said.pixels
    given = pixels(tmp_path, bits=16)
    assert given.images.mean() < before / 10
    assert given.pixels != name
    assert pixels(tmp_path).images.mean() == before
    dataset = DatasetConfig(path=str(tmp_path / "d"))
    other_images(dataset, "val", ("a", "b"), SIDE, Workspace(tmp_path), Depth(16))  # as an export of another study does
    again = pixels(tmp_path, bits=16)
    assert (again.images == given.images).all()
    assert again.pixels == given.pixels


def test_one_image_of_all_bits_lets_the_others_be_read_by_all(tmp_path: Path) -> None:
    write(tmp_path, 12)
    (tmp_path / "d/a/bright.png").write_bytes(png_of(at_bits(16)))
    assert pixels(tmp_path).depth.bits == 16


def test_the_key_counts_more_than_the_data_and_is_another_data_set(tmp_path: Path) -> None:
    write(tmp_path, 12)
    by_data, by_key = pixels(tmp_path), pixels(tmp_path, bits=14)
    assert by_key.depth == Depth(14, tags_first=False)
    assert by_key.images.max() == 64
    assert by_data.images.max() == 255
    assert (pixels(tmp_path).images == by_data.images).all(), "each is kept under a name of its own"
    with pytest.raises(DatasetError, match=r"values up to 4,095, beyond the 10 bits"):
        pixels(tmp_path, bits=10)


def test_what_was_taken_is_reported_in_numbers(tmp_path: Path) -> None:
    write(tmp_path, 12)
    facts = prepare(DatasetConfig(path=str(tmp_path / "d")), SIDE, Workspace(tmp_path)).files
    assert (facts.deep, facts.largest, facts.bits) == (8, 4095, 12)


def test_images_of_8_bits_are_none_of_this(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(np.roll(RAMP, number)).save(tmp_path / "d" / name / f"{number}{name}.png")
    facts = prepare(DatasetConfig(path=str(tmp_path / "d")), SIDE, Workspace(tmp_path)).files
    assert (facts.deep, facts.largest, facts.bits) == (0, 0, 16)


def tiff_in_colours(order: str) -> bytes:
    """Write a TIFF of 16 bits a channel in either order of bytes, as Pillow cannot."""
    raw = COLOURS.astype(f"{order}u2").tobytes()
    end: Literal["little", "big"] = "little" if order == "<" else "big"
    behind = 8 + 2 + 9 * 12 + 4
    entries = [(256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 3, behind), (259, 4, 1, 1), (262, 4, 1, 2)]
    entries += [(273, 4, 1, behind + 6), (277, 4, 1, 3), (278, 4, 1, SIDE), (279, 4, 1, len(raw))]
    words = [(8, 4), (len(entries), 2)]
    for tag, kind, count, value in entries:
        words += [(tag, 2), (kind, 2), (count, 4), (value, 4)]
    words += [(0, 4), (16, 2), (16, 2), (16, 2)]
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + b"".join(value.to_bytes(size, end) for value, size in words) + raw


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_bytes_of_deep_colours_are_read_in_either_order(order: str) -> None:
    assert (decode(tiff_in_colours(order), SIDE, "crop", Depth(12)) == RAMP[..., None]).all()
