"""Features of images by a frozen backbone: one pass, decoded ahead, nothing learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sweeper.data.augment import Normalize, evaluation_images
from sweeper.data.decode import OWN_DEPTH, Depth, Resize
from sweeper.data.decoded_batches import decoded_batches
from sweeper.modeling.backbones import build_backbone
from sweeper.modeling.formats import Predict
from sweeper.training.device import place
from sweeper.training.onnx_forward import quick_forward

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageFeatures:
    """Features [G, D] of the G readable files of a list, their places in it, and why the others have none."""

    values: Features
    rows: npt.NDArray[np.int64]
    bad: dict[int, str]


def image_features(
    files: Sequence[str],
    *,
    backbone: str,
    pretrained: bool | str,
    image_size: int,
    resize: Resize = "crop",
    depth: Depth = OWN_DEPTH,
    batch_size: int = 64,
    device: torch.device,
    progress: Callable[[int, int], None] | None = None,
) -> ImageFeatures:
    """Run files through a backbone in inference mode.

    Args:
        files: Paths of image files.
        backbone, pretrained: As in a search space; without weights features say little.
        image_size: Side in pixels that images are decoded to, by the rule `resize`.
        depth: How values of more than 8 bits become 8.
        batch_size: Images at once.
        device: Where the backbone runs.
        progress: Called with the images done and all.

    Raises:
        ModelError: the backbone cannot be built or its weights do not fit.
    """
    network = build_backbone(backbone, pretrained, image_size)
    place(network.module.eval(), device)
    forward = quick_forward(network.module, image_size, device, len(files))
    normalize = Normalize(network.mean, network.std, image_size, device)
    values, rows, bad = [np.empty((0, network.features), np.float32)], list[int](), dict[int, str]()
    for batch in decoded_batches(files, image_size, resize, batch_size, depth):
        if batch.rows:
            values.append(_features(forward, batch.pixels, image_size, normalize, device))
        rows += batch.rows
        bad |= batch.bad
        if progress:
            progress(len(rows) + len(bad), len(files))
    return ImageFeatures(np.concatenate(values), np.array(rows, dtype=np.int64), bad)


@torch.inference_mode()
def _features(
    forward: Predict, pixels: npt.NDArray[np.uint8], size: int, normalize: Normalize, device: torch.device
) -> Features:
    images = evaluation_images(torch.from_numpy(pixels).to(device), size, normalize)
    found: Features = forward(images).float().cpu().numpy()
    return found
