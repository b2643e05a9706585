"""The embedded data set: scikit-learn's 1,797 scanned digits, written once as image files.

They are written out so that the quick start takes the same path as any user's folder of images.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from sweeper.files import file_lock, put_in_place

FULL_INK = 16  # the scans count ink from 0 to 16


def write_digits(folder: Path) -> Path:
    """Make sure that `folder`/CLASS/NNNN.png hold the digits, and return the folder.

    Images are 8 by 8, grey. Safe against a second process and against being killed half-way.
    """
    if folder.is_dir():
        return folder
    with file_lock(folder.with_suffix(".lock"), blocking=True):
        if not folder.is_dir():
            _write(folder)
    return folder


def _write(folder: Path) -> None:
    from sklearn.datasets import load_digits  # takes a second to import, needed once in a workspace

    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = partial / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(pixels * (255 / FULL_INK)).astype(np.uint8)).save(path)
    put_in_place(partial, folder)
