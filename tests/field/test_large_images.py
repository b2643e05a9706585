"""Large images in small files: decoded in little more memory than their own pixels, and one at a time."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from sweeper.data import decode as decoding
from sweeper.data import decoding_pool
from sweeper.data.decode import LARGE_PIXELS, decode
from sweeper.data.picture.formats import MAX_PIXELS
from sweeper.data.picture.rgb import BAND_PIXELS
from tests.field.odd_forms import saved
from tests.functional.program import REPOSITORY

MEASURE = """
import sys
from pathlib import Path
from sweeper.data.decode import decode

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

data = Path(sys.argv[1]).read_bytes()
before = peak()
decode(data, 64, "crop")
print(peak() - before)
"""
SIDE = 4000
MB_OF_ITS_PIXELS = SIDE * SIDE * 4 / 2**20


def wide(mode: str) -> Image.Image:
    """A smooth picture of 16 million pixels."""
    grey = Image.linear_gradient("L").resize((SIDE, SIDE))
    match mode:
        case "RGBA":
            image = Image.merge("RGB", [grey, grey.rotate(90), grey])
            image.putalpha(grey.rotate(180))
            return image
        case "I;16":
            return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        case "P":
            return grey.convert("RGB").quantize(32)
        case _:
            return Image.merge(mode, [grey] * len(mode))


@pytest.mark.skipif(sys.platform != "linux", reason="measured by Linux' own record of the peak")
@pytest.mark.parametrize("form", ["RGBA PNG", "I;16 PNG", "P PNG", "LA PNG", "CMYK TIFF", "RGB TIFF"])
def test_a_large_image_takes_little_more_than_its_own_pixels(tmp_path: Path, form: str) -> None:
    mode, kind = form.split()
    (tmp_path / "large").write_bytes(saved(wide(mode), kind))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "large")]
    done = subprocess.run(command, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=True)
    bands = 16 * BAND_PIXELS / 2**20  # of RGBA, on white, in RGB, reduced
    assert float(done.stdout) < MB_OF_ITS_PIXELS + bands + 15


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measured by Linux' own record of the peak")
@pytest.mark.parametrize("form", ["RGBA PNG", "RGB WEBP", "RGBA WEBP", "RGBA AVIF", "RGBA TIFF"])
def test_the_largest_image_takes_no_more_than_is_kept_free_for_it(tmp_path: Path, form: str) -> None:
    mode, kind = form.split()
    grey = Image.linear_gradient("L").resize((int(MAX_PIXELS**0.5),) * 2)
    options = {"WEBP": {"quality": 20, "method": 0}, "AVIF": {"quality": 20, "speed": 10}}.get(kind, {})
    Image.merge(mode, [grey] * len(mode)).save(tmp_path / "large", kind, **options)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "large")]
    done = subprocess.run(command, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=True)
    assert float(done.stdout) < decoding_pool.LARGE_BYTES / 2**20


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16", "RGB"])
def test_bands_give_the_pixels_of_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.data.picture import rgb

    image = wide(mode).resize((301, 217)) if mode != "P" else wide(mode).crop((0, 0, 301, 217))
    data = saved(image, "PNG")
    whole = decode(data, 300, "pad")
    monkeypatch.setattr(rgb, "BAND_PIXELS", 301 * 10)
    assert (decode(data, 300, "pad") == whole).all()


def test_averaged_bands_are_close_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeper.data.picture import rgb

    data = saved(wide("RGB").resize((700, 500)), "PNG")
    whole = decode(data, 20, "crop").astype(int)
    monkeypatch.setattr(rgb, "BAND_PIXELS", 700 * 10)
    assert np.abs(decode(data, 20, "crop").astype(int) - whole).max() <= 2


def test_what_is_taken_for_a_bomb_is_what_the_message_says(monkeypatch: pytest.MonkeyPatch) -> None:
    side = int(MAX_PIXELS**0.5)
    assert decode(saved(Image.new("1", (side, side - 1)), "PNG"), 8, "crop").shape == (8, 8, 3)
    with pytest.raises(decoding.BadImage, match="more than 100,000,000 pixels"):
        decode(saved(Image.new("1", (side, side + 1)), "PNG"), 8, "crop")


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = multiprocessing.get_context("spawn").Lock()
    monkeypatch.setattr(decoding, "_turn", lock)
    with decoding._room(LARGE_PIXELS + 1):
        assert not lock.acquire(block=False)
    with decoding._room(LARGE_PIXELS):
        assert lock.acquire(block=False)
        lock.release()


def test_processes_are_as_many_as_memory_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def available(free: int) -> object:
        return type("Memory", (), {"available": free})

    least = decoding_pool.LARGE_BYTES + decoding_pool.PROCESS_BYTES
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64))
    for free, expected in ((1 << 20, 1), (least, 1), (least + decoding_pool.PROCESS_BYTES, 2), (1 << 40, 64)):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: available(free))
        assert decoding_pool.decoding_processes() == expected
