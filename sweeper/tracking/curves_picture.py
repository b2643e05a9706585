"""Learning curves of a trial as a picture; drawn with Pillow, as confusion matrices are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from sweeper.results import EpochMetrics
from sweeper.tracking.lettering import PLAIN, font

PANELS = {
    "loss": ["train/loss", "val/loss"],
    "accuracy": ["train/accuracy", "val/accuracy", "val/top5_accuracy"],
    "macro scores": ["val/precision", "val/recall", "val/f1"],
    "learning rate": ["lr"],
}
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c")
GRID, BEST = "#dddddd", "#808080"
PANEL = (550, 350)  # pixels; two by two of them
LEFT, TOP, RIGHT, BOTTOM = 65, 30, 15, 45  # what a panel keeps free around its axes
PLOT = (PANEL[0] - LEFT - RIGHT, PANEL[1] - TOP - BOTTOM)
FINER = 2  # lines are drawn so many times as large and then reduced, which smooths them
MOST_TICKS = 7

Points = list[tuple[float, float]]


def draw_curves(history: Sequence[EpochMetrics], best_epoch: int | None, path: Path) -> None:
    """Draw loss, accuracy, macro scores and learning rate over the epochs; the best epoch is marked."""
    picture = Image.new("RGB", (2 * PANEL[0], 2 * PANEL[1]), "white")
    for number, (title, keys) in enumerate(PANELS.items()):
        curves = {key: points_of(history, key) for key in keys}
        panel = _panel(title, curves, len(history), best_epoch)
        picture.paste(panel, (number % 2 * PANEL[0], number // 2 * PANEL[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, compress_level=1)


def points_of(history: Sequence[EpochMetrics], key: str) -> Points:
    """Return (epoch, value) of every epoch that has a number under this key."""
    found = [(float(point.epoch), point.values.get(key, math.nan)) for point in history]
    return [(epoch, value) for epoch, value in found if math.isfinite(value)]


@dataclass(frozen=True)
class Axis:
    """A range of numbers laid over a length in pixels; the pixels of vertical ones count from the top."""

    low: float
    high: float
    length: int
    vertical: bool = False

    def pixel(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return (1 - share if self.vertical else share) * self.length

    def ticks(self, smallest_step: float = 0.0) -> list[float]:
        """Return round numbers in the range: a few multiples of 1, 2 or 5 times a power of ten."""
        rough = max((self.high - self.low) / MOST_TICKS, smallest_step)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [number * step for number in range(first, last + 1)]


def vertical_axis(values: Sequence[float]) -> Axis:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 0.5
    return Axis(low - margin, high + margin, PLOT[1], vertical=True)


def horizontal_axis(epochs: int) -> Axis:
    margin = min(0.03 * (epochs - 1), 0.9) or 0.5  # epoch 0, which there is not, stays outside
    return Axis(1 - margin, epochs + margin, PLOT[0])


def _panel(title: str, curves: Mapping[str, Points], epochs: int, best_epoch: int | None) -> Image.Image:
    across, up = horizontal_axis(epochs), vertical_axis([value for points in curves.values() for _, value in points])
    image = Image.new("RGB", PANEL, "white")
    image.paste(_plot(curves, across, up, best_epoch), (LEFT, TOP))
    draw = ImageDraw.Draw(image)
    draw.rectangle((LEFT, TOP, LEFT + PLOT[0], TOP + PLOT[1]), outline="black")
    draw.text((LEFT + PLOT[0] / 2, TOP - 6), title, "black", font(PLAIN, 15), anchor="ms")
    draw.text((LEFT + PLOT[0] / 2, PANEL[1] - 6), "epoch", "black", font(PLAIN, 13), anchor="ms")
    for tick in across.ticks(smallest_step=1):
        place = (LEFT + across.pixel(tick), TOP + PLOT[1] + 5)
        draw.text(place, f"{tick:g}", "black", font(PLAIN, 12), anchor="mt")
    for tick in up.ticks():
        draw.text((LEFT - 6, TOP + up.pixel(tick)), f"{tick:.6g}", "black", font(PLAIN, 12), anchor="rm")
    _legend(draw, [*curves], best_epoch)
    return image


def _plot(curves: Mapping[str, Points], across: Axis, up: Axis, best_epoch: int | None) -> Image.Image:
    width, height = (FINER * side for side in PLOT)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for tick in across.ticks(smallest_step=1):
        draw.line((FINER * across.pixel(tick), 0, FINER * across.pixel(tick), height), GRID, FINER)
    for tick in up.ticks():
        draw.line((0, FINER * up.pixel(tick), width, FINER * up.pixel(tick)), GRID, FINER)
    if best_epoch is not None:
        for top in range(0, height, 8 * FINER):
            place = FINER * across.pixel(best_epoch)
            draw.line((place, top, place, top + 3 * FINER), BEST, FINER)
    for points, color in zip(curves.values(), COLORS, strict=False):
        path = [(FINER * across.pixel(epoch), FINER * up.pixel(value)) for epoch, value in points]
        draw.line(path, color, 2 * FINER, joint="curve")
        for x, y in path:
            draw.ellipse((x - 3 * FINER, y - 3 * FINER, x + 3 * FINER, y + 3 * FINER), color)
    return image.reduce(FINER)


def _legend(draw: ImageDraw.ImageDraw, names: Sequence[str], best_epoch: int | None) -> None:
    lines = list(zip(names, COLORS, strict=False))
    if best_epoch is not None:
        lines.append((f"best epoch {best_epoch}", BEST))
    letters = font(PLAIN, 11)
    width = max(letters.getlength(name) for name, _ in lines) + 38
    left, top = LEFT + PLOT[0] - width - 8, TOP + 8
    draw.rectangle((left, top, LEFT + PLOT[0] - 8, top + 16 * len(lines) + 6), "white", "#cccccc")
    for row, (name, color) in enumerate(lines):
        middle = top + 11 + 16 * row
        draw.line((left + 6, middle, left + 26, middle), color, 2)
        draw.text((left + 32, middle), name, "black", letters, anchor="lm")
