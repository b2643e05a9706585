"""The task of giving images back through a narrow latent."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.task import ReconstructionConfig
from sweeper.data.batches import Batch
from sweeper.files import write_whole
from sweeper.modeling.autoencoder import Autoencoder, build_autoencoder
from sweeper.modeling.backbones import Backbone
from sweeper.paths import TrialFolder
from sweeper.training.evaluate import predictor
from sweeper.training.image_quality import mean_squared_error, psnr, ssim
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.task import Exhibit, Validation

IN_A_ROW = 10
SHOWN_SIDE = 96  # pixels that an image of a picture has at least, so that 32 of them can be looked at
GAP = 2  # pixels between two images


class QualityMeter:
    """Sums up what a pass over a split gives: the loss, PSNR and, where `similarity` is asked for, SSIM.

    Loss is the mean squared error of the outputs as they are; PSNR and SSIM are those of images, whose
    values lie between 0 and 1.
    """

    def __init__(self, device: torch.device, *, similarity: bool):
        precise = torch.float32 if device.type == "mps" else torch.float64
        self._names = ("loss", "psnr", "ssim") if similarity else ("loss", "psnr")
        self._sums = torch.zeros(len(self._names), dtype=precise, device=device)
        self._count = 0

    @torch.no_grad()
    def update(self, outputs: Tensor, batch: Batch, losses: Tensor) -> None:
        images, restored = outputs[:, 0], outputs[:, 1].clamp(0, 1)
        found = [losses, psnr(mean_squared_error(images, restored))]
        if len(self._names) > len(found):
            found.append(ssim(images, restored))
        self._sums += torch.stack(found).sum(1, dtype=self._sums.dtype)
        self._count += len(batch.labels)

    def compute(self) -> dict[str, float]:
        """Return the means over all images. Raises ValueError where nothing was counted."""
        if not self._count:
            raise ValueError("no image was reconstructed; there is nothing to judge")
        return {name: total / self._count for name, total in zip(self._names, self._sums.tolist(), strict=True)}


@dataclass(frozen=True)
class Reconstruction:
    """Outputs are images beside their reconstructions, [B, 2, 3, S, S]; an exhibit is some of them, as uint8."""

    config: ReconstructionConfig

    def build(self, config: TrialConfig, backbone: Backbone | None = None) -> Autoencoder:
        return build_autoencoder(config, backbone=backbone)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:  # noqa: ARG002 (of a task that has labels)
        return mean_squared_error(outputs[:, 0], outputs[:, 1])

    def meter(self, device: torch.device) -> QualityMeter:
        return QualityMeter(device, similarity=False)

    @torch.inference_mode()
    def validate(
        self, network: nn.Module, batches: Iterable[Batch], device: torch.device, micro_batches: MicroBatches
    ) -> Validation:
        network.eval()
        predict = predictor(network, device, micro_batches)
        meter = QualityMeter(device, similarity=True)
        shown: list[Tensor] = []
        for batch in batches:
            outputs = predict(batch.inputs)
            meter.update(outputs, batch, self.losses(outputs, batch))
            shown.append(_as_bytes(outputs[_spread(len(outputs), self.config.images)]))
        candidates = torch.cat(shown)
        picked = candidates[_spread(len(candidates), self.config.images)]
        return Validation(meter.compute(), picked.cpu().numpy())

    def shows(self, epoch: int) -> bool:
        return epoch % self.config.every == 0

    def keep(self, exhibit: Exhibit, name: str, folder: TrialFolder) -> None:
        write_whole(folder.reconstructions / f"{name}.png", picture(exhibit))


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many places, evenly over `count`: a split often stands in the order of its classes."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def _as_bytes(pairs: Tensor) -> Tensor:
    """Turn values from 0 to 1, [N, 2, 3, S, S], into bytes [N, 2, S, S, 3]."""
    return (pairs.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).contiguous()


def picture(pairs: Exhibit) -> bytes:
    """Return the grid of pairs of images as a PNG file."""
    png = io.BytesIO()
    grid(pairs).save(png, "PNG")
    return png.getvalue()


def grid(pairs: Exhibit) -> Image.Image:
    """Draw pairs of images, uint8 [N, 2, S, S, 3], the original above its reconstruction, ten to a row."""
    columns, cell = min(len(pairs), IN_A_ROW), _magnified(pairs[0][0]).width + GAP
    rows = -(-len(pairs) // columns)
    drawn = Image.new("RGB", (columns * cell + GAP, rows * (2 * cell + 2 * GAP) + GAP), "white")
    for number, pair in enumerate(pairs):
        row, column = divmod(number, columns)
        for line, image in enumerate(pair):
            place = (GAP + column * cell, GAP + row * (2 * cell + 2 * GAP) + line * cell)
            drawn.paste(_magnified(image), place)
    return drawn


def _magnified(pixels: Exhibit) -> Image.Image:
    """Return an image of at least SHOWN_SIDE pixels, by whole factors so that every pixel stays a square."""
    factor = max(1, -(-SHOWN_SIDE // len(pixels)))
    return Image.fromarray(np.kron(pixels, np.ones((factor, factor, 1), dtype=np.uint8)))
