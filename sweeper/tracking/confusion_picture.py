"""Confusion matrices as pictures, readable at 10 classes and at 200.

Drawn with Pillow: laying out and drawing hundreds of labels one by one, as a plotting library does,
takes seconds of a core that a training needs (docs/performance.md).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw

from sweeper.files import write_whole
from sweeper.safeguards.outputs import marked
from sweeper.scores.confusion import Confusion
from sweeper.tracking.fonts import MONOSPACED, PLAIN, font, one_line, text_image

CELL = 45  # pixels of a class, up to this many classes:
MOST_CLASSES_WITH_NUMBERS = 30
SMALL_CELL = 16  # beyond: at 200 classes 3,200 pixels, every label can be read when zoomed
SMALLEST_SIDE, LARGEST_SIDE = 500, 4000
CONFUSED_PAIRS = 20
LONGEST_NAME = 24
GAP = 10  # pixels between parts
BAR_WIDTH = 15
COLORS = "Blues"


@dataclass(frozen=True)
class Scale:
    """Sizes in pixels that follow from the number of classes."""

    cell: int
    side: int
    label: int
    text: int

    @classmethod
    def of(cls, classes: int) -> Scale:
        cell = CELL if classes <= MOST_CLASSES_WITH_NUMBERS else SMALL_CELL
        cell = max(1, min(max(cell, SMALLEST_SIDE // classes), LARGEST_SIDE // classes))
        side = cell * classes
        return cls(cell, side, label=max(6, min(12, cell - 4)), text=max(13, side // 150))


def draw_confusion(confusion: Confusion, classes: Sequence[str], title: str, path: Path) -> None:
    """Write what `confusion_png` returns."""
    write_whole(path, confusion_png(confusion, classes, title))


def confusion_png(confusion: Confusion, classes: Sequence[str], title: str) -> bytes:
    """Draw a confusion matrix, coloured by the share of each true class, with the worst pairs beside it."""
    scale = Scale.of(len(classes))
    accuracy = np.trace(confusion) / max(int(confusion.sum()), 1)
    heading = text_image(f"{title}: {accuracy:.2%} of {int(confusion.sum()):,} images", PLAIN, scale.text * 5 // 4)
    pairs = text_image(worst_pairs(confusion, classes), MONOSPACED, scale.text)
    names = _labels([_short(name) for name in classes], scale)
    picture = _compose(_matrix(confusion, scale), names, heading, pairs, scale)
    png = io.BytesIO()
    picture.save(png, "PNG", compress_level=1, pnginfo=marked())
    return png.getvalue()


def _compose(
    matrix: Image.Image, names: Image.Image, heading: Image.Image, pairs: Image.Image, scale: Scale
) -> Image.Image:
    """Put the parts together: title, true classes, matrix, colours, pairs; predicted classes below."""
    true, predicted = text_image("true", PLAIN, scale.text), text_image("predicted", PLAIN, scale.text)
    bar = _color_bar(scale)
    left = GAP + true.height + GAP + names.width + GAP // 2
    top = GAP + heading.height + GAP
    bar_left = left + scale.side + GAP
    pairs_left = bar_left + bar.width + 2 * GAP
    width = max(pairs_left + pairs.width, left + heading.width) + GAP
    below = top + scale.side + GAP // 2
    height = max(below + names.width + GAP + predicted.height, top + pairs.height) + GAP
    picture = Image.new("RGB", (width, height), "white")
    picture.paste(heading, (max(left, left + (scale.side - heading.width) // 2), GAP))
    picture.paste(true.transpose(Image.Transpose.ROTATE_90), (GAP, top + (scale.side - true.width) // 2))
    picture.paste(names, (left - GAP // 2 - names.width, top))
    picture.paste(matrix, (left, top))
    picture.paste(bar, (bar_left, top + (scale.side - bar.height) // 2))
    picture.paste(names.transpose(Image.Transpose.ROTATE_90), (left, below))
    picture.paste(predicted, (left + (scale.side - predicted.width) // 2, below + names.width + GAP))
    picture.paste(pairs, (pairs_left, top))
    return picture


def _matrix(confusion: Confusion, scale: Scale) -> Image.Image:
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    # The square root of the share: single confusions stay visible beside a strong diagonal.
    colors = mpl.colormaps[COLORS](np.sqrt(share), bytes=True)[..., :3]
    size = (scale.side, scale.side)
    image = Image.fromarray(np.ascontiguousarray(colors)).resize(size, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    if len(confusion) <= MOST_CLASSES_WITH_NUMBERS:
        for true, predicted in np.argwhere(confusion > 0).tolist():
            center = ((predicted + 0.5) * scale.cell, (true + 0.5) * scale.cell)
            fill = "white" if share[true, predicted] > 0.4 else "black"
            draw.text(center, str(confusion[true, predicted]), fill, font(PLAIN, 11), anchor="mm")
    draw.rectangle((0, 0, scale.side - 1, scale.side - 1), outline="black")
    return image


def _labels(names: Sequence[str], scale: Scale) -> Image.Image:
    """Write one name a cell, below each other and up against the right edge; where cells are tiny, some."""
    letters = font(PLAIN, scale.label)
    shown = range(0, len(names), -(-scale.label // scale.cell))
    width = max(int(letters.getlength(names[index])) for index in shown) + 2
    image = Image.new("RGB", (width, scale.side), "white")
    draw = ImageDraw.Draw(image)
    for index in shown:
        draw.text((width - 1, (index + 0.5) * scale.cell), names[index], "black", letters, anchor="rm")
    return image


def _color_bar(scale: Scale) -> Image.Image:
    """Draw which colour stands for which share of the true class."""
    height, letters = scale.side * 3 // 5, font(PLAIN, scale.text)
    ramp = mpl.colormaps[COLORS](np.linspace(1, 0, height), bytes=True)[:, None, :3]
    caption = text_image("share of the true class", PLAIN, scale.text).transpose(Image.Transpose.ROTATE_90)
    numbers = int(letters.getlength("0.0")) + 2 * GAP
    size = (BAR_WIDTH + numbers + caption.width, max(height + 2 * scale.text, caption.height))
    image = Image.new("RGB", size, "white")
    top = (image.height - height) // 2
    image.paste(Image.fromarray(np.ascontiguousarray(ramp)).resize((BAR_WIDTH, height)), (0, top))
    image.paste(caption, (BAR_WIDTH + numbers, (image.height - caption.height) // 2))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, top, BAR_WIDTH - 1, top + height - 1), outline="black")
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        place = top + (1 - share**0.5) * (height - 1)
        draw.line((BAR_WIDTH, place, BAR_WIDTH + 4, place), "black")
        draw.text((BAR_WIDTH + GAP, place), f"{share:.1f}", "black", letters, anchor="lm")
    return image


def worst_pairs(confusion: Confusion, classes: Sequence[str]) -> str:
    """Return the most frequent confusions as lines, worst first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    worst = np.argsort(wrong, axis=None, kind="stable")[::-1][:CONFUSED_PAIRS]
    lines = [
        f"{wrong[true, predicted]:>5}  {one_line(classes[true])} → {one_line(classes[predicted])}"
        for true, predicted in zip(*np.unravel_index(worst, wrong.shape), strict=True)
        if wrong[true, predicted]
    ]
    return "\n".join(["most confused (true → predicted)", "", *(lines or ["none"])])


def _short(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
