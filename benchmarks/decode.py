"""Building the decode cache beside a pool of two processes that decode with PIL, and opening it again.

    python -m benchmarks.decode [--data FOLDER] [--images 10000] [--open-images 100000]

The pool is what one writes: PIL opens each file, converts it to RGB and gives the pixels back. The
second run opens a cache of 100,000 images as a later command does: every file is looked at.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.images import Images, gather
from benchmarks.measurements import Measurement, Result, Section, ratios
from sweeper.paths import Workspace

CHUNK = 64  # files a process takes at once
PROCESSES = 2
VAL_SHARE = 10


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        val = options.images // VAL_SHARE
        images = gather(
            options.data,
            folder / "images",
            size=options.size,
            classes=options.classes,
            train=options.images - val,
            val=val,
        )
        result = Result("decode", images.about)
        result.add(build_section(images, folder, options))
        result.add(open_section(images, folder, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with train/CLASS/; generated images without it")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--open-images", type=int, default=100_000, help="in the cache of the second run")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def build_section(images: Images, folder: Path, options: argparse.Namespace) -> Section:
    ours: list[float] = []
    pool: list[float] = []
    for _ in range(options.repeats):
        pool.append(seconds_of(lambda: decode_with_pil(images, options.size)))
        shutil.rmtree(folder / "workspace", ignore_errors=True)
        ours.append(seconds_of(lambda: open_cache(images, folder / "workspace", options.size)))
    rows = [
        Measurement(f"PIL in {PROCESSES} processes", "s", pool),
        Measurement("the decode cache, built", "s", ours),
        Measurement("times as fast", "", ratios(pool, ours), at_least=1.5),
    ]
    return Section(f"Decoding {options.images:,} JPEGs of {options.size} pixels", rows)


def decode_with_pil(images: Images, size: int) -> None:
    files = sorted(images.folder.rglob("*.jp*g"), key=str) or sorted(images.folder.rglob("*.JPEG"), key=str)
    chunks = [(files[start : start + CHUNK], size) for start in range(0, len(files), CHUNK)]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:  # starts at once; ours spawns
        pixels = np.concatenate(pool.starmap(decode_files, chunks))
    if len(pixels) != len(files):
        raise SystemExit("the pool lost images")


def decode_files(files: list[Path], size: int) -> np.ndarray:
    pixels = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for row, file in enumerate(files):
        with Image.open(file) as image:
            rgb = image.convert("RGB")
            pixels[row] = np.asarray(rgb if rgb.size == (size, size) else rgb.resize((size, size)))
    return pixels


def open_cache(images: Images, workspace: Path, size: int) -> None:
    """Index the files and open their cache, building it where there is none."""
    from sweeper.config.dataset import DatasetConfig  # here: processes that decode import this module's head too
    from sweeper.data.cache import ImageCache
    from sweeper.data.index import build_index

    dataset = DatasetConfig(path=str(images.folder.absolute()))
    index = build_index(dataset, Workspace(workspace))
    ImageCache(Workspace(workspace).cache, size, dataset.resize).open(index, skip_bad=False)


def open_section(images: Images, folder: Path, options: argparse.Namespace) -> Section:
    """Open a cache of many images, hard links to the same few, as a second command does."""
    from sweeper.config.dataset import DatasetConfig
    from sweeper.data.prepare import prepare_images

    many = multiplied(images, folder / "many", options.open_images)
    dataset = DatasetConfig(path=str(many.folder.absolute()))
    workspace = Workspace(folder / "many-workspace")
    prepare_images(dataset, options.size, workspace)
    again: list[float] = []
    cpu: list[float] = []
    for _ in range(options.repeats):
        before = time.process_time()
        again.append(seconds_of(lambda: open_cache(many, workspace.root, options.size)))
        cpu.append(time.process_time() - before)
    whole = [seconds_of(lambda: prepare_images(dataset, options.size, workspace)) for _ in range(options.repeats)]
    rows = [
        Measurement("index the files and open their cache", "s", again, at_most=1.0),
        Measurement("the same, of CPU", "s", cpu),
        Measurement("the same with labels, titles and the digest of the data set", "s", whole),
    ]
    return Section(f"The second run of a command, {many.about}", rows)


def multiplied(images: Images, into: Path, count: int) -> Images:
    files = [path for path in images.train.rglob("*") if path.is_file()]
    val = max(1, count // VAL_SHARE)
    for number in range(count):
        source = files[number % len(files)]
        target = into / ("val" if number < val else "train") / source.parent.name / f"{number}.jpeg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(source)
    return Images(into, f"{count:,} images")


def seconds_of(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
