"""Images to measure on: a class folder tree, real where one is given, generated where none is.

What is generated are JPEGs of the same sizes and counts. Their files are as long as real ones, so
that decoding them costs the same; nothing can be learned from them.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sweeper.data.image_set import ImageSet

SPLITS = ("train", "val")
SOURCES = {"train": ("train",), "val": ("val", "test")}  # what a real folder may call them
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Images:
    """A folder with train/CLASS/ and val/CLASS/, and where they come from."""

    folder: Path
    about: str

    @property
    def train(self) -> Path:
        return self.folder / "train"


def gather(source: Path | None, into: Path, *, size: int, classes: int, train: int, val: int) -> Images:
    """Return this many images of this many classes in a folder of their own: copies of real ones, or generated."""
    counts = {"train": train, "val": val}
    for split in SPLITS:
        folder = _split_of(source, split) if source else None
        if folder and _holds(folder, counts[split], classes):
            (into / split).parent.mkdir(parents=True, exist_ok=True)
            (into / split).symlink_to(folder.resolve(), target_is_directory=True)
            continue
        names = _classes(folder, classes) if folder else [f"class{number:03d}" for number in range(classes)]
        each = counts[split] // len(names)
        for label, name in enumerate(names):
            target = into / split / name
            target.mkdir(parents=True)
            if folder:
                copy_some(folder / name, target, each, from_end=split == "val")
            else:
                _generate(target, each, size, seed=label + classes * SPLITS.index(split))
    kind = f"from {source.name}" if source else f"generated, {size} pixels"
    return Images(into, f"{train:,} + {val:,} images of {classes} classes, {kind}")


def pixels_only(size: int, classes: int, train: int, val: int) -> ImageSet:
    """Return as many random images that no file holds: for what begins with decoded images, and does not learn."""
    count = train + val
    return ImageSet(
        images=np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8),
        labels=np.arange(count) % classes,
        classes=tuple(f"class{number:03d}" for number in range(classes)),
        splits={"train": np.arange(train), "val": np.arange(train, count)},
        digest="0" * 32,
    )


def _split_of(source: Path, split: str) -> Path:
    """Return the folder of a split; where validation images lie in one folder, training ones stand in."""
    for name in SOURCES[split]:
        folder = source / name
        if folder.is_dir() and any(path.is_dir() and path.name != "images" for path in folder.iterdir()):
            return folder
    return source / "train"


def _holds(folder: Path, count: int, classes: int) -> bool:
    """Return whether a folder holds exactly this many images of this many classes, so that none need be copied."""
    found = [sum(1 for _ in path.iterdir()) for path in folder.iterdir() if path.is_dir()]
    return len(found) == classes and sum(found) == count


def _classes(folder: Path, count: int) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())[:count]


def copy_some(source: Path, target: Path, count: int, *, from_end: bool, other_than: Collection[str] = ()) -> None:
    """Copy the first or the last images: where one folder serves for both splits, none is in both.

    `other_than`: names of files that are not copied.
    """
    images = (path for path in source.rglob("*") if path.is_file() and path.suffix.lower() in (".jpeg", ".jpg"))
    files = sorted(path for path in images if path.name not in other_than)
    if len(files) < count:
        raise SystemExit(f"{source.name}: {count} images a class are wanted and {len(files)} are there; ask for fewer")
    for path in files[-count:] if from_end else files[:count]:
        shutil.copyfile(path, target / path.name)


def _generate(target: Path, count: int, size: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    for number in range(count):
        coarse = dice.integers(0, 256, (size // 4, size // 4, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        noise = dice.integers(-12, 13, (size, size, 3))
        pixels = np.clip(np.asarray(picture, dtype=np.int16) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(target / f"{number:05d}.jpeg", quality=JPEG_QUALITY)
