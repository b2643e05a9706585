"""Random operations on training images: TrivialAugment (arXiv 2103.10158) and RandAugment (arXiv 1909.13719).

Every image of a batch has an operation and a strength of its own, and the batch goes through all of them at once,
without a wait for the device. Three kinds of arithmetic do for the fourteen operations: one affine map, which is read
together with crop and flip; one table of 256 values for each image and channel; one blend with a grey or a smooth
version. The strengths are those of torchvision, where a place outside the image is black; here it is its reflection.
TrivialAugment's shifts are a number of pixels there, and so here: of large images a small part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Generator, Tensor

from sweeper.config.hyperparameters import PolicyConfig, RandAugmentConfig, TrivialAugmentConfig

GREY = (0.2989, 0.587, 0.114)  # luminance of red, green and blue, ITU-R BT.601
BINS = 31
"""Strengths from nothing to the most, as both papers have them."""

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "saturation",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
BY_TABLE = ("brightness", "contrast", "posterize", "solarize", "autocontrast", "equalize")
BY_BLENDING = ("saturation", "sharpness")
PLACE = {name: place for place, name in enumerate(OPERATIONS)}


class Strongest(NamedTuple):
    """What an operation does at the highest strength."""

    shear: float
    translate: float
    """A part of the image's side."""
    degrees: float
    factor: float
    """Of brightness, saturation, contrast and sharpness, up or down from 1."""
    bits: float
    """That posterize takes away, of 8."""


TRIVIAL_PIXELS = 32
"""By how many an image is shifted at most by TrivialAugment, whatever its size."""

TRIVIAL = Strongest(shear=0.99, translate=1.0, degrees=135.0, factor=0.99, bits=6.0)
RAND = Strongest(shear=0.3, translate=150 / 331, degrees=30.0, factor=0.9, bits=4.0)


class Drawn(NamedTuple):
    """What happens to each image, [B]: its operation, the strength from 0 to 1, and for most a sign of it."""

    operation: Tensor
    strength: Tensor
    sign: Tensor

    def signed(self, name: str, most: float) -> Tensor:
        """Return the strength times its sign and `most` where an image has this operation, else 0."""
        return torch.where(self.operation == PLACE[name], self.strength * self.sign * most, 0.0)

    def has(self, name: str) -> Tensor:
        return self.operation == PLACE[name]


Change = Callable[[Tensor, Drawn, Strongest], Tensor]


def draw(policy: PolicyConfig, count: int, generator: Generator) -> list[Drawn]:
    """Draw what is done to each image of a batch, one after the other; nothing without a policy."""
    device = generator.device
    match policy:
        case TrivialAugmentConfig():
            strengths = [torch.randint(BINS, (count,), generator=generator, device=device) / (BINS - 1)]
        case RandAugmentConfig():
            fixed = torch.full((count,), policy.magnitude / (BINS - 1), device=device)
            strengths = [fixed] * policy.operations
        case _:
            strengths = []
    return [
        Drawn(
            torch.randint(len(OPERATIONS), (count,), generator=generator, device=device),
            strength,
            2.0 * torch.randint(2, (count,), generator=generator, device=device) - 1,
        )
        for strength in strengths
    ]


def strongest(policy: PolicyConfig, image_size: int) -> Strongest:
    """Return what the operations of a policy do at most to images of this side, in pixels."""
    if isinstance(policy, TrivialAugmentConfig):
        return TRIVIAL._replace(translate=min(1.0, TRIVIAL_PIXELS / image_size))
    return RAND


def moved(maps: Tensor, drawn: list[Drawn], most: Strongest) -> Tensor:
    """Put what is drawn of shears, shifts and rotations before affine maps, [B, 2, 3]; coordinates go from -1 to 1."""
    for step in drawn:
        maps = _after(maps, _map_of(step, most))
    return maps


def _map_of(step: Drawn, most: Strongest) -> Tensor:
    """Return float32 [B, 2, 3]: where each place is read. Shears keep the first row and column where they are."""
    shear_x, shear_y = step.signed("shear_x", most.shear), step.signed("shear_y", most.shear)
    shift_x, shift_y = step.signed("translate_x", 2 * most.translate), step.signed("translate_y", 2 * most.translate)
    angle = torch.deg2rad(step.signed("rotate", most.degrees))
    first = torch.stack([angle.cos(), shear_x - angle.sin(), shear_x + shift_x], dim=1)
    second = torch.stack([shear_y + angle.sin(), angle.cos(), shear_y + shift_y], dim=1)
    return torch.stack([first, second], dim=1)


def _after(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the affine map that is `inner` and then `outer`."""
    linear = outer[:, :, :2] @ inner[:, :, :2]
    shift = outer[:, :, :2] @ inner[:, :, 2:] + outer[:, :, 2:]
    return torch.cat([linear, shift], dim=2)


def recolored(pixels: Tensor, drawn: list[Drawn], most: Strongest) -> Tensor:
    """Apply what is drawn of changes of colour to float32 [B, S, S, 3], 0 to 255; returns whole numbers."""
    pixels = pixels.contiguous().round().clamp_(0, 255)
    for step in drawn:
        for change, names in ((looked_up, BY_TABLE), (blended, BY_BLENDING)):
            pixels = _applied(change, names, pixels, step, most)
    return pixels


def _applied(change: Change, names: tuple[str, ...], pixels: Tensor, step: Drawn, most: Strongest) -> Tensor:
    """Apply a change to the images that have one of its operations; a GPU, which would have to wait, takes them all."""
    if pixels.device.type != "cpu":
        return change(pixels, step, most)
    having = torch.stack([step.has(name) for name in names]).any(dim=0).nonzero().view(-1)
    if not len(having):
        return pixels
    theirs = Drawn(*(drawn.index_select(0, having) for drawn in step))
    return pixels.index_copy_(0, having, change(pixels.index_select(0, having), theirs, most))


def blended(pixels: Tensor, step: Drawn, most: Strongest) -> Tensor:
    """Change saturation, away from grey, and sharpness, away from a smooth version."""
    colourless = grey(pixels).expand_as(pixels)
    saturation = (1 + step.signed("saturation", most.factor)).view(-1, 1, 1, 1)
    sharpness = (1 + step.signed("sharpness", most.factor)).view(-1, 1, 1, 1)
    base = torch.where(step.has("sharpness").view(-1, 1, 1, 1), smoothed(pixels), colourless)
    factor = torch.where(step.has("sharpness").view(-1, 1, 1, 1), sharpness, saturation)
    return torch.lerp(base, pixels, factor).clamp_(0, 255).round_()


def grey(pixels: Tensor) -> Tensor:
    red, green, blue = GREY
    return (red * pixels[..., 0] + green * pixels[..., 1] + blue * pixels[..., 2]).unsqueeze(-1)


def smoothed(pixels: Tensor) -> Tensor:
    """Return the mean of each place's neighbourhood, itself five times, [B, S, S, 3]; the border stays as it is."""
    images = pixels.permute(0, 3, 1, 2)
    sums = F.avg_pool2d(images, 3, stride=1, divisor_override=1)
    inner = (sums + 4 * images[:, :, 1:-1, 1:-1]) / 13
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = inner.round_()
    return smooth.permute(0, 2, 3, 1)


def looked_up(pixels: Tensor, step: Drawn, most: Strongest) -> Tensor:
    """Replace each value by that of its image's and channel's table."""
    batch = len(pixels)
    values = pixels.view(batch, -1, 3).long()
    places = values + 256 * torch.arange(3 * batch, device=pixels.device).view(batch, 1, 3)
    table = _tables(pixels, places, step, most)
    return table.view(-1).index_select(0, places.view(-1)).view(pixels.shape)


def _tables(pixels: Tensor, places: Tensor, step: Drawn, most: Strongest) -> Tensor:
    """Return float32 [B, 3, 256]: what becomes of each value. `places` are [B, N, 3] in it."""
    batch = len(pixels)
    values = torch.arange(256.0, device=pixels.device)
    as_they_are = values.expand(batch, 3, 256)
    mean = grey(pixels).floor().mean(dim=(1, 2, 3)).view(-1, 1, 1)
    factor = (1 + step.signed("contrast", most.factor) + step.signed("brightness", most.factor)).view(-1, 1, 1)
    base = torch.where(step.has("contrast").view(-1, 1, 1), mean, 0.0)
    scaled = (base + (values - base) * factor).clamp(0, 255).floor().expand(-1, 3, -1)
    bits = 8 - (step.strength * most.bits).round()
    coarse = 2.0 ** (8 - bits).view(-1, 1, 1)
    posterized = ((values / coarse).floor() * coarse).expand(-1, 3, -1)
    threshold = (255 * (1 - step.strength)).view(-1, 1, 1)
    solarized = torch.where(values >= threshold, 255 - values, values).expand(-1, 3, -1)
    counts = torch.zeros(batch * 3 * 256, dtype=torch.long, device=pixels.device)
    counts.scatter_add_(0, places.view(-1), torch.ones_like(places.view(-1)))
    tables = {
        ("brightness", "contrast"): scaled,
        ("posterize",): posterized,
        ("solarize",): solarized,
        ("autocontrast",): _stretched(pixels, values),
        ("equalize",): _equalized(counts.view(batch, 3, 256)),
    }
    chosen = as_they_are
    for names, table in tables.items():
        wanted = torch.stack([step.has(name) for name in names]).any(dim=0)
        chosen = torch.where(wanted.view(-1, 1, 1), table, chosen)
    return chosen.contiguous()


def _stretched(pixels: Tensor, values: Tensor) -> Tensor:
    """Return [B, 3, 256]: the tables that stretch each channel over all values; one of a single value stays."""
    low, high = (extreme.unsqueeze(-1) for extreme in (pixels.amin(dim=(1, 2)), pixels.amax(dim=(1, 2))))
    flat = high == low
    scale = torch.where(flat, 1.0, 255 / (high - low).clamp_min(1))
    return ((values - torch.where(flat, 0.0, low)) * scale).clamp(0, 255).floor()


def _equalized(counts: Tensor) -> Tensor:
    """Return [B, 3, 256]: the tables that make all values about as frequent, of how often each occurs."""
    last = torch.where(counts > 0, torch.arange(256, device=counts.device), 0).amax(dim=-1, keepdim=True)
    step = (counts.sum(dim=-1, keepdim=True) - counts.gather(-1, last)) // 255
    table = (counts.cumsum(dim=-1) + step // 2) // step.clamp_min(1)
    table = F.pad(table, (1, 0))[..., :-1].clamp(0, 255).float()
    return torch.where(step == 0, torch.arange(256.0, device=counts.device), table)
