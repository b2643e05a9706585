"""For which images of a split each epoch of a trial predicts right, as a file: one bit for each image and epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from sweeper.errors import StudyError
from sweeper.files import write_whole
from sweeper.safeguards.arrays import packed, unpacked
from sweeper.scores.predictions import Ids, Numbers

Bits = npt.NDArray[np.uint8]
"""One epoch, eight images in each number, [ceil(N / 8)]."""


def as_bits(predicted: Numbers, labels: Numbers) -> Bits:
    """Return for which of N images the prediction is right."""
    bits: Bits = np.packbits(predicted == labels)
    return bits


def write_right(path: Path, images: Ids, epochs: list[Bits]) -> None:
    """Write the epochs of a trial, in order, then perhaps an average of some, and the names of the images, `image_ids`.

    The average is one choice more that these images have made.
    """
    write_whole(path, packed(images=images, right=np.stack(epochs)))


def read_right(path: Path) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Return the images, [N], and what each epoch has right, [E, N]. Raises StudyError for a file that is none."""
    try:
        images, right = unpacked(path.read_bytes(), "images", "right")
        if right.dtype != np.uint8 or images.ndim != 1 or right.shape[1:] != (-(-len(images) // 8),):
            raise ValueError("arrays of other shapes")
    except (OSError, ValueError) as error:
        raise StudyError(f"{path} does not say which images are right ({error}); it may be damaged") from error
    return images, np.unpackbits(right, axis=1, count=len(images)).astype(bool)
