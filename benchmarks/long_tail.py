"""Make a small data set of unequal classes out of a large one of equal classes.

    python -m benchmarks.long_tail CIFAR10 INTO [--grey]

Each class has 100 validation images; of training images the first class has 300, the last 15, and those in between
ever fewer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from benchmarks.images import copy_some

MOST, LEAST = 300, 15
VAL = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder with train/CLASS/ and test/CLASS/")
    parser.add_argument("into", type=Path, help="the folder to make")
    parser.add_argument("--grey", action="store_true", help="without colour")
    options = parser.parse_args()
    long_tailed(options.source, options.into)
    if options.grey:
        without_colour(options.into)


def long_tailed(source: Path, into: Path) -> None:
    """Copy images into train/CLASS/ and val/CLASS/, ever fewer of each further class for training."""
    names = sorted(path.name for path in (source / "train").iterdir() if path.is_dir())
    for number, name in enumerate(names):
        few = round(MOST * (LEAST / MOST) ** (number / (len(names) - 1)))
        for split, taken_from, count in (("train", "train", few), ("val", "test", VAL)):
            (into / split / name).mkdir(parents=True)
            copy_some(source / taken_from / name, into / split / name, count, from_end=split == "val")


def without_colour(folder: Path) -> None:
    """Make all images of a folder grey, in place."""
    for path in folder.rglob("*.jp*g"):
        Image.open(path).convert("L").save(path, quality=95)


if __name__ == "__main__":
    main()
