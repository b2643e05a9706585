"""Labelling images with an export: decoded ahead, prepared as in training, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeper.data.augment import Normalize, evaluation_images
from sweeper.data.decode import Depth
from sweeper.data.decoded_batches import DecodedBatch, decoded_batches
from sweeper.export.load import LoadedExport
from sweeper.export.verify import classifier_on, full_precision
from sweeper.predict.inputs import InputImage
from sweeper.training.micro_batch import MicroBatches, Parts
from sweeper.training.onnx_forward import quick_forward


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image, best first; none, and the reason, where it is not a readable image."""

    image: InputImage
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    reason: str = ""


def predict_images(
    export: LoadedExport, images: Sequence[InputImage], *, top: int, batch_size: int, device: torch.device
) -> Iterator[Prediction]:
    """Yield a prediction for every image, in their order.

    Args:
        export: The classifier; it is moved to `device`.
        images: Files of any image format, or those that are known to be missing.
        top: How many classes are given for each, at most as many as there are.
        batch_size: Images decoded and classified at once; smaller parts are tried where memory is short.
        device: Where the network runs.

    Raises:
        DoesNotFit: not even a single image fits in memory.
    """
    top = min(top, len(export.config.classes))
    readable = [image for image in images if not image.reason]
    network = Labelling(export, device, len(readable))
    config = export.config
    paths, depth = [image.path for image in readable], Depth(**config.depth.model_dump())
    batches = decoded_batches(paths, config.stored_size, config.resize, batch_size, depth, past_faults=True)
    predicted = (prediction for batch in batches for prediction in network.label(batch, readable, top))
    for image in images:
        yield Prediction(image, reason=image.reason) if image.reason else next(predicted)


class Labelling:
    """A classifier on its device, with the preparation of its images."""

    def __init__(self, export: LoadedExport, device: torch.device, images: int = 1) -> None:
        config = export.config
        self._classes, self._temperature = config.classes, config.temperature
        self._size, self._device = config.image_size, device
        self._normalize = Normalize(config.mean, config.std, config.image_size, device)
        classifier_on(export.classifier, device)
        self._classify = quick_forward(export.classifier, config.image_size, device, images)
        self._parts = MicroBatches(device)

    def label(self, batch: DecodedBatch, images: Sequence[InputImage], top: int) -> list[Prediction]:
        """Return the `top` classes of every file of a batch, or why it cannot be read."""
        found = {row: Prediction(images[row], reason=reason) for row, reason in batch.bad.items()}
        if batch.rows:
            values, numbers = self.probabilities(torch.from_numpy(batch.pixels)).topk(top, dim=1)
            for row, best, shares in zip(batch.rows, numbers.tolist(), values.tolist(), strict=True):
                found[row] = Prediction(images[row], tuple(self._classes[number] for number in best), tuple(shares))
        return [found[row] for row in sorted(found)]

    @torch.inference_mode()
    def probabilities(self, pixels: Tensor) -> Tensor:
        """Turn uint8 [B, S, S, 3] into calibrated probabilities of the classes, float32 [B, C] on the CPU."""

        def attempt(cut: Parts) -> Tensor:
            return torch.cat([self._classify(self._prepared(pixels[part])).float() for part in cut])

        with full_precision() if self._device.type == "cuda" else nullcontext():
            logits = self._parts.fit("evaluation", len(pixels), attempt, rewind=lambda: None)
        return (logits / self._temperature).softmax(1).cpu()

    def _prepared(self, pixels: Tensor) -> Tensor:
        return evaluation_images(pixels.to(self._device), self._size, self._normalize)
