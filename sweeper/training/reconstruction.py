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
from sweeper.data.transfer import to_device
from sweeper.files import write_whole
from sweeper.modeling.autoencoder import Autoencoder, build_autoencoder
from sweeper.modeling.backbones import Backbone
from sweeper.paths import TrialFolder
from sweeper.safeguards.outputs import marked
from sweeper.training.evaluate import predictor
from sweeper.training.image_quality import mean_squared_error, psnr, ssim
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.ranks import ALONE, Ranks
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
        self._sums = torch.zeros(len(self._names) + 1, dtype=precise, device=device)  # the last counts images

    def reset(self) -> None:
        self._sums.zero_()

    @torch.no_grad()
    def update(self, outputs: Tensor, batch: Batch, losses: Tensor) -> None:  # noqa: ARG002 (of a task with labels)
        images, restored = outputs[:, 0], outputs[:, 1].clamp(0, 1)
        found = [losses, psnr(mean_squared_error(images, restored))]
        if len(self._names) > len(found):
            found.append(ssim(images, restored))
        found.append(torch.ones_like(losses))
        self._sums += torch.stack(found).sum(1, dtype=self._sums.dtype)

    def compute(self) -> dict[str, float]:
        """Return the means over all images. Raises ValueError where nothing was counted."""
        *sums, count = self._sums.tolist()
        if not count:
            raise ValueError("no image was reconstructed; there is nothing to judge")
        return {name: total / count for name, total in zip(self._names, sums, strict=True)}


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
        self,
        network: nn.Module,
        batches: Iterable[Batch],
        device: torch.device,
        micro_batches: MicroBatches,
        ranks: Ranks = ALONE,
    ) -> Validation:
        network.eval()
        predict = predictor(network, device, micro_batches, ranks)
        meter = QualityMeter(device, similarity=True)
        shown: list[Tensor] = []
        for batch in batches:
            outputs = predict(batch.inputs)
            meter.update(outputs, batch, self.losses(outputs, batch))
            shown.append(_as_bytes(_picked(outputs, self.config.images)))
        return Validation(meter.compute(), _picked(torch.cat(shown), self.config.images).cpu().numpy())

    def shows(self, epoch: int) -> bool:
        return epoch % self.config.every == 0

    def keep(self, exhibit: Exhibit, name: str, folder: TrialFolder) -> None:
        write_whole(folder.reconstructions / f"{name}.png", picture(exhibit))


def _picked(rows: Tensor, most: int) -> Tensor:
    """Return at most `most` of the rows [N, ...], evenly spaced: a split often stands in the order of its classes."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(np.int64))
    return rows.index_select(0, to_device(places, rows.device))


def _as_bytes(pairs: Tensor) -> Tensor:
    """Turn values from 0 to 1, [N, 2, 3, S, S], into bytes [N, 2, S, S, 3]."""
    return (pairs.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).contiguous()


def picture(pairs: Exhibit) -> bytes:
    """Return the grid of pairs of images as a PNG file."""
    png = io.BytesIO()
    grid(pairs).save(png, "PNG", pnginfo=marked())
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
