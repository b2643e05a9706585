"""`sweeper.Export`: Pillow images, arrays and files of the same picture get the same answer, a row for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sweeper
from sweeper.export.export import ExportReport

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 60_000, (20, 24))
COLOUR = RANDOM.integers(0, 256, (20, 24, 4), dtype=np.uint8)
PICTURES = {
    "I;16": (Image.fromarray(GREY.astype(np.uint16)), "png"),
    "I": (Image.fromarray(GREY.astype(np.int32)), "tif"),
    "I;16B": (Image.frombytes("I;16B", (24, 20), GREY.astype(">u2").tobytes()), "tif"),
    "RGBA": (Image.fromarray(COLOUR), "png"),
    "LA": (Image.fromarray(COLOUR).convert("LA"), "png"),
    "P": (Image.fromarray(COLOUR[:, :, :3]).convert("P"), "png"),
    "1": (Image.fromarray(COLOUR[:, :, :3]).convert("1"), "png"),
}


@pytest.fixture(scope="module")
def loaded(report: ExportReport) -> sweeper.Export:
    return sweeper.load_export(report.folder)


@pytest.mark.parametrize("mode", PICTURES)
def test_a_pillow_image_gets_the_answer_of_its_file(loaded: sweeper.Export, tmp_path: Path, mode: str) -> None:
    picture, suffix = PICTURES[mode]
    assert picture.mode == mode
    file = tmp_path / f"picture.{suffix}"
    picture.save(file)
    np.testing.assert_array_equal(loaded.predict_proba(picture), loaded.predict_proba(file))


def test_numbers_that_are_no_brightness_are_refused_from_memory_as_from_a_file(
    loaded: sweeper.Export, tmp_path: Path
) -> None:
    picture = Image.fromarray((GREY / 60_000).astype(np.float32))
    picture.save(tmp_path / "picture.tif")
    for image in (picture, tmp_path / "picture.tif"):
        with pytest.raises(sweeper.DatasetError):
            loaded.predict_proba(image)


@pytest.mark.parametrize("empty", [Image.new("RGB", (4, 4)).crop((2, 2, 2, 2)), np.zeros((0, 4, 3), np.uint8)])
def test_an_empty_picture_is_refused_with_its_place(loaded: sweeper.Export, empty: Any) -> None:
    with pytest.raises(sweeper.DatasetError, match="image 1 cannot be used"):
        loaded.predict([Image.new("RGB", (4, 4)), empty])


def test_a_single_number_is_no_picture(loaded: sweeper.Export) -> None:
    with pytest.raises(sweeper.DatasetError, match="image 0 cannot be used"):
        loaded.predict(np.array(5, np.uint8))


def test_transparency_of_a_palette_is_kept(loaded: sweeper.Export) -> None:
    picture = PICTURES["P"][0].convert("PA")
    picture.putalpha(Image.fromarray(COLOUR[:, :, 3]))
    np.testing.assert_array_equal(loaded.predict_proba(picture), loaded.predict_proba(picture.convert("RGBA")))


def test_a_picture_that_comes_twice_has_two_rows(loaded: sweeper.Export, tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for file in (first, second):
        Image.fromarray(RANDOM.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(file)
    shares = loaded.predict_proba([first, second, first])
    assert len(shares) == 3
    np.testing.assert_array_equal(shares[0], shares[2])
    assert list(loaded.predict([first, first])["image"]) == [str(first)] * 2


@pytest.mark.parametrize(
    "wrong", [{"batch_size": -1}, {"batch_size": 0}, {"batch_size": 2.5}, {"top": 0}, {"top": "2"}]
)
def test_numbers_that_cannot_be_are_refused(loaded: sweeper.Export, wrong: dict[str, Any]) -> None:
    with pytest.raises(sweeper.ConfigError, match="should be a whole number of at least 1, got"):
        loaded.predict(PICTURES["RGBA"][0], **wrong)


@pytest.mark.parametrize("wrong", [None, b"bytes", {"x": 1}, [None], [["a.png"]], 3, []])
def test_what_is_no_picture_is_refused_with_what_it_should_be(loaded: sweeper.Export, wrong: Any) -> None:
    with pytest.raises(sweeper.DatasetError, match=r"a path, a Pillow image or an array of NumPy, got|no images were"):
        loaded.predict(wrong)


def test_an_empty_name_is_not_the_current_folder(loaded: sweeper.Export) -> None:
    with pytest.raises(sweeper.DatasetError, match="is empty; the current folder is named by a dot"):
        loaded.predict("")


def test_all_files_of_an_export_may_be_read_by_the_same_people(report: ExportReport) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in report.folder.iterdir() if path.is_file()}
    assert len(set(modes.values())) == 1, modes
