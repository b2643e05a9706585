"""Random changes to training images, drawn for every sample and applied to the batch at once.

Crops and flips are index arithmetic on the stored bytes. Rotations and random resized crops are one
affine map and one interpolation. Nothing here waits for the device.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from sweeper.config.hyperparameters import AugmentConfig, TrivialAugmentConfig
from sweeper.data import policy
from sweeper.data.transfer import to_device

RESIZED_CROP_RATIO = 4 / 3  # most that width and height may differ, as in Inception's training
ERASED_AREA = (0.02, 1 / 3)  # of the image; aspect ratios up to 3.3 (arXiv 1708.04896)
ERASED_RATIO = 3.3
BLUR_DEVIATION = (0.1, 2.0)  # pixels, as in SimCLR (arXiv 2002.05709)
BLUR_REACH = 4  # pixels to each side: two of the largest deviations


class Normalize:
    """Turns pixels from 0 to 255 into (value / 255 - mean) / std, whole rows at a time.

    Each image row is 3 * size values with the channels alternating. Repeating scale and offset to
    that length lets the arithmetic run over long rows; over 3 channels it is several times slower.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], size: int, device: torch.device) -> None:
        deviation = np.array(std, dtype=np.float64)
        scale, offset = 1 / (255 * deviation), -np.array(mean, dtype=np.float64) / deviation
        self._scale, self._offset = (
            to_device(np.tile(row, size).astype(np.float32), device) for row in (scale, offset)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalise [B, S, S, 3], uint8 or float32, into float32 [B, 3, S, S], channels_last.

        Float pixels are changed in place.
        """
        batch, height, width, channels = pixels.shape
        rows = pixels.reshape(batch * height, width * channels).float()
        rows.mul_(self._scale).add_(self._offset)
        return rows.view(pixels.shape).permute(0, 3, 1, 2)


def evaluation_images(pixels: Tensor, image_size: int, normalize: Normalize) -> Tensor:
    """Resize uint8 [B, S, S, 3] where needed and normalise; returns float32 [B, 3, T, T]."""
    return normalize(resized(pixels, image_size))


def augment_version(augment: AugmentConfig) -> int:
    """Return a number that is raised where the same settings and seed give other images than before.

    Features that are kept are those of one version. TrivialAugment is in its second, since shifts are in pixels; and so
    are crops, since their sides keep the area that was drawn.
    """
    crops = augment.random_resized_crop is not None and augment.random_resized_crop < 1
    return 1 + isinstance(augment.policy, TrivialAugmentConfig) + crops


def augment_images(
    pixels: Tensor, augment: AugmentConfig, image_size: int, normalize: Normalize, generator: Generator
) -> Tensor:
    """Apply all but mixing to uint8 [B, S, S, 3]; returns normalised float32 [B, 3, T, T], channels_last."""
    drawn = policy.draw(augment.policy, len(pixels), generator)
    if augment.random_resized_crop or augment.rotation or drawn:
        pixels = warp(pixels, augment, image_size, drawn, generator)
    else:
        pixels = crop_and_flip(
            resized(pixels, image_size), augment.crop_padding, augment.flip, augment.vertical_flip, generator
        )
    if drawn:
        pixels = policy.recolored(pixels, drawn, policy.strongest(augment.policy, image_size))
    if augment.color_jitter:
        pixels = jitter_colors(pixels.float(), augment.color_jitter, generator)
    if augment.blur:
        pixels = blur(pixels.float(), augment.blur, generator)
    images = normalize(pixels)
    return erase(images, augment.erasing, generator) if augment.erasing else images


def resized(pixels: Tensor, size: int) -> Tensor:
    """Resize uint8 [B, S, S, 3] with antialiasing, by the filter that decoding uses."""
    if pixels.shape[1] == size:
        return pixels
    images = pixels.permute(0, 3, 1, 2)
    if pixels.device.type != "cpu":  # only the CPU resizes bytes
        images = images.float()
    images = F.interpolate(images, (size, size), mode="bicubic", antialias=True)
    if images.dtype != torch.uint8:
        images = images.round_().clamp_(0, 255).to(torch.uint8)
    return images.permute(0, 2, 3, 1).contiguous()


def crop_and_flip(pixels: Tensor, padding: int, flip: bool, vertical: bool, generator: Generator) -> Tensor:
    """Cut [B, S, S, 3] out of itself, shifted by up to `padding` pixels, and mirror half of the images each way.

    What lies beyond the border is its reflection. Each pixel is looked up as a unit of three bytes.
    """
    if not (padding or flip or vertical):
        return pixels
    batch, size, device = len(pixels), pixels.shape[1], pixels.device
    straight = torch.arange(size, device=device)
    rows = columns = straight.expand(batch, size)
    if padding:
        shifts = torch.randint(-padding, padding + 1, (2, batch, 1), generator=generator, device=device)
        rows, columns = reflect(straight + shifts[0], size), reflect(straight + shifts[1], size)
    if flip:
        mirrored = torch.rand((batch, 1), generator=generator, device=device) < 0.5
        columns = torch.where(mirrored, size - 1 - columns, columns)
    if vertical:
        mirrored = torch.rand((batch, 1), generator=generator, device=device) < 0.5
        rows = torch.where(mirrored, size - 1 - rows, rows)
    firsts = torch.arange(batch, device=device)[:, None] * size
    # 32 bits halve the memory traffic of the index, which is most of it
    lines = ((firsts + rows) * size).int() if pixels.numel() < 2**31 else (firsts + rows) * size
    index = lines[:, :, None] + columns.to(lines.dtype)[:, None, :]
    return pixels.view(-1, 3).index_select(0, index.view(-1)).view(pixels.shape)


def reflect(positions: Tensor, size: int) -> Tensor:
    """Map any whole number into 0 to size - 1 as if the range were mirrored at both ends, for ever."""
    return (size - 1) - (positions % max(2 * size - 2, 1) - (size - 1)).abs()


def warp(
    pixels: Tensor, augment: AugmentConfig, image_size: int, drawn: list[policy.Drawn], generator: Generator
) -> Tensor:
    """Crop, shift, rotate, mirror and do what is drawn by one affine map; uint8 [B, S, S, 3] to float32 [B, T, T, 3].

    Reads the stored pixels directly where they are at most twice as fine as the result, since
    there bilinear interpolation does not alias; finer ones are reduced to that first.
    """
    if pixels.shape[1] > 2 * image_size:
        pixels = resized(pixels, 2 * image_size)
    images = pixels.permute(0, 3, 1, 2).float()
    maps = affine_maps(len(pixels), augment, image_size, generator)
    maps = policy.moved(maps, drawn, policy.strongest(augment.policy, image_size))
    grid = F.affine_grid(maps, [len(pixels), 3, image_size, image_size], align_corners=False)
    warped = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return warped.permute(0, 2, 3, 1)


def affine_maps(count: int, augment: AugmentConfig, image_size: int, generator: Generator) -> Tensor:
    """Draw float32 [B, 2, 3]: where in the image, from -1 to 1, each place of the result is read."""
    scale_x, scale_y = resized_crop_sides(count, augment.random_resized_crop or 1.0, generator)
    slack_x, slack_y = 1 - scale_x, 1 - scale_y
    shift = 2 * augment.crop_padding / image_size
    x = _uniform(count, -1, 1, generator) * (slack_x + shift)
    y = _uniform(count, -1, 1, generator) * (slack_y + shift)
    angle = _uniform(count, -1, 1, generator) * math.radians(augment.rotation)
    mirror = torch.ones_like(x)
    if augment.flip:
        mirror = torch.where(_uniform(count, 0, 1, generator) < 0.5, -mirror, mirror)
    upside = torch.ones_like(y)
    if augment.vertical_flip:
        upside = torch.where(_uniform(count, 0, 1, generator) < 0.5, -upside, upside)
    first = torch.stack([scale_x * mirror * angle.cos(), -scale_x * upside * angle.sin(), x], dim=1)
    second = torch.stack([scale_y * mirror * angle.sin(), scale_y * upside * angle.cos(), y], dim=1)
    return torch.stack([first, second], dim=1)


def resized_crop_sides(count: int, smallest: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw width and height, [B] each, of crops that keep `smallest` to all of the area."""
    area = _uniform(count, smallest, 1, generator)
    ratio = _log_uniform(count, RESIZED_CROP_RATIO if smallest < 1 else 1.0, generator)
    ratio = ratio.clamp(area, 1 / area)  # no side is longer than the image
    return (area * ratio).sqrt(), (area / ratio).sqrt()


def jitter_colors(pixels: Tensor, strength: float, generator: Generator) -> Tensor:
    """Change brightness, contrast and saturation of float32 [B, S, S, 3] by up to `strength` each way."""
    low, high = 1 - strength, 1 + strength
    brightness, contrast, saturation = (_uniform(len(pixels), low, high, generator).view(-1, 1, 1, 1) for _ in range(3))
    pixels = (pixels * brightness).clamp_(0, 255)
    pixels = torch.lerp(policy.grey(pixels).mean(dim=(1, 2), keepdim=True), pixels, contrast).clamp_(0, 255)
    return torch.lerp(policy.grey(pixels), pixels, saturation).clamp_(0, 255)


def blur(pixels: Tensor, probability: float, generator: Generator) -> Tensor:
    """Blur some images of float32 [B, S, S, 3], each by a Gaussian of its own deviation; the border is reflected."""
    count, reach = len(pixels), BLUR_REACH
    deviation = _uniform(count, *BLUR_DEVIATION, generator)
    blurred = _uniform(count, 0, 1, generator) < probability
    steps = torch.arange(-reach, reach + 1, device=pixels.device)
    weights = torch.exp(-0.5 * (steps / deviation[:, None]) ** 2)
    weights = torch.where(blurred[:, None], weights / weights.sum(dim=1, keepdim=True), (steps == 0).float())
    size = pixels.shape[1]
    places = reflect(torch.arange(-reach, size + reach, device=pixels.device), size)
    wide = pixels.permute(0, 3, 1, 2).index_select(2, places).index_select(3, places).contiguous()
    each = weights.repeat_interleave(3, dim=0, output_size=3 * count)  # every channel of every image by itself
    rows = F.conv2d(wide.view(1, 3 * count, *wide.shape[2:]), each.view(-1, 1, 2 * reach + 1, 1), groups=3 * count)
    both = F.conv2d(rows, each.view(-1, 1, 1, 2 * reach + 1), groups=3 * count)
    return both.view(count, 3, size, size).permute(0, 2, 3, 1).contiguous()


def erase(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Set a random rectangle of some normalised images [B, 3, S, S] to 0, which is the mean colour.

    Random Erasing, arXiv 1708.04896. Changes the images in place.
    """
    count, size = len(images), images.shape[-1]
    erased = _uniform(count, 0, 1, generator) < probability
    area = _uniform(count, *ERASED_AREA, generator)
    ratio = _log_uniform(count, ERASED_RATIO, generator)
    rows = _span((area * ratio).sqrt(), size, generator)
    columns = _span((area / ratio).sqrt(), size, generator)
    mask = rows[:, None, :, None] & columns[:, None, None, :] & erased.view(-1, 1, 1, 1)
    return images.masked_fill_(mask, 0.0)


def _span(share: Tensor, size: int, generator: Generator) -> Tensor:
    """Return bool [B, S]: a run of `share` of the places, [B], at a random place."""
    length = (share * size).round().clamp(1, size)
    start = (_uniform(len(share), 0, 1, generator) * (size - length + 1)).floor()
    places = torch.arange(size, device=share.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low


def _log_uniform(count: int, largest: float, generator: Generator) -> Tensor:
    """Draw from 1 / largest to largest, as often below 1 as above."""
    return (_uniform(count, -1, 1, generator) * math.log(largest)).exp()
