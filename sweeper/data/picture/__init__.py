"""The bytes of one image file to a square of RGB pixels, whatever its format, colour mode, depth and orientation.

Nowhere else is an image file opened. This folder needs Pillow and NumPy and nothing of sweeper: it stands as it is in
every export and in every registered model, so that images are prepared there by the rules of the training and not by a
copy of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .depth import Depth
from .rgb import decoded, square


def prepared(data: bytes, config: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """Turn an image file into the network's input as an export's config.json says: float32 [3, S, S].

    Raises `BadImage` (of `formats.py`) with the reason where the bytes are not an image that is read.
    """
    size, side = config["stored_size"], config["image_size"]
    image = square(decoded(data, size, Depth(**config.get("depth", {}))).image, size, config["resize"])
    if side != size:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    pixels = (np.asarray(image) / 255 - config["mean"]) / config["std"]
    return np.asarray(pixels.transpose(2, 0, 1), np.float32)
