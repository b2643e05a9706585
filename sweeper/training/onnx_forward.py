"""A network that does not learn, as ONNX Runtime runs it on a CPU: the same outputs, several times as fast as torch."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from sweeper.errors import ExportError
from sweeper.modeling.formats import Predict, read_onnx, recording, trace, write_onnx

logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Images: their activations stay in the processor's caches. More at once were slower (docs/performance.md)."""

COMPARED = 8
TOLERANCE = 1e-4
"""Of the largest output, by which outputs of the two engines may differ."""

FEWEST_FOR_ONNX = 1000
"""Images; converting a network takes as long as torch takes for some hundreds."""

ENGINE = f"onnxruntime {onnxruntime.__version__}"
OUTPUT = "features"


class OnnxForward:
    """Puts images through a network by ONNX Runtime. It is converted, and compared with itself, when first asked for.

    Args:
        module: In evaluation mode, on the CPU. Takes float32 [B, 3, S, S].
        image_size: S.
    """

    def __init__(self, module: nn.Module, image_size: int) -> None:
        self._module = module
        self._image_size = image_size
        self._predict: Predict | None = None
        self._refusal: str | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return the outputs for images [B, 3, S, S], float32 [B, ...]. Raises ExportError where it cannot."""
        with torch.autocast("cpu", enabled=False):  # its arithmetic is float32, and is compared with that
            predict = self._predict or self._converted(images[:COMPARED])
        with recording("ONNX Runtime", "torch is used"):
            return torch.cat([predict(images[at : at + AT_ONCE]) for at in range(0, len(images), AT_ONCE)])

    def _converted(self, images: Tensor) -> Predict:
        if self._refusal is not None:
            raise ExportError(self._refusal)
        try:
            predict = self._convert()
            self._compare(predict, images)
        except ExportError as error:
            self._refusal = str(error)
            raise
        self._predict = predict
        return predict

    def _convert(self) -> Predict:
        started = time.perf_counter()
        with recording("the network cannot be written as ONNX", "torch is used"), tempfile.TemporaryDirectory() as name:
            file = Path(name) / "network.onnx"
            with torch.inference_mode(False):
                write_onnx(trace(self._module, self._image_size), file, OUTPUT)
            predict = read_onnx(file, OUTPUT, threads=torch.get_num_threads())
        logger.info("converted for %s in %.1f s", ENGINE, time.perf_counter() - started)
        return predict

    def _compare(self, predict: Predict, images: Tensor) -> None:
        """Raise ExportError where both engines do not give the same."""
        ours, theirs = predict(images), self._module(images)
        difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))
        if not difference <= TOLERANCE:
            raise ExportError(f"its outputs by ONNX Runtime differ by {difference:.1e} of the largest; torch is used")


def quick_forward(module: nn.Module, image_size: int, device: torch.device, images: int) -> Predict:
    """Return what puts this number of images through a network that learns nothing more: the fastest way there is.

    On a CPU that is ONNX Runtime, where the images are enough to repay the conversion and the network can be
    converted; else torch. Outputs differ by `TOLERANCE` at most.

    Args:
        module: In evaluation mode, on `device`. Takes float32 [B, 3, S, S].
        image_size: S.
        device: Where it runs.
        images: How many there will be.
    """
    if device.type != "cpu" or images < FEWEST_FOR_ONNX:
        return module
    onnx: OnnxForward | None = OnnxForward(module, image_size)

    def forward(inputs: Tensor) -> Tensor:
        nonlocal onnx
        if onnx is not None:
            try:
                return onnx(inputs)
            except ExportError as error:
                logger.warning("%s", error)
                onnx = None
        outputs: Tensor = module(inputs)
        return outputs

    return forward
