"""Small folders of images for tests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 12, height: int = 12) -> Image.Image:
    """Return a noisy RGB image that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def write_picture(path: Path, seed: int, width: int = 12, height: int = 12) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, width, height).save(path)
    return path


def write_class_folders(root: Path, counts: dict[str, int], size: int = 12, first_seed: int = 0) -> Path:
    """Write this many PNG files for each `CLASS` or `SPLIT/CLASS`, every image different."""
    seed = first_seed
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            write_picture(root / folder / f"{number:04d}.png", seed, size, size)
            seed += 1
    return root


def write_split_folders(root: Path, train: int = 6, val: int = 3, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Write train/ and val/ with this many images of each class."""
    counts = {f"train/{name}": train for name in classes} | {f"val/{name}": val for name in classes}
    return write_class_folders(root, counts)
