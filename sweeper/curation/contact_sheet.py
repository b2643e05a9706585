"""A picture of many small pictures with captions, to be looked at before anything is left out."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from sweeper.data.decode import BadImage, decode
from sweeper.data.image_file import read_image_file
from sweeper.errors import DatasetError

TILE = 112  # pixels of a picture's side
CAPTION = 30
GAP = 6
COLUMNS = 10
LETTERS = 18  # that fit below a picture
FONT_SIZE = 11


def contact_sheet(entries: Sequence[tuple[str, str, str]]) -> Image.Image:
    """Return an RGB picture of files in rows of ten, two lines of text below each.

    Args:
        entries: Path of the file and the two lines. A file that cannot be read is an empty frame.
    """
    rows = -(-len(entries) // COLUMNS)
    step = (TILE + GAP, TILE + CAPTION + GAP)
    sheet = Image.new("RGB", (COLUMNS * step[0] + GAP, max(rows, 1) * step[1] + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for number, (path, *captions) in enumerate(entries):
        left, top = GAP + number % COLUMNS * step[0], GAP + number // COLUMNS * step[1]
        _paste(sheet, draw, path, left, top)
        text = "\n".join(_short(caption) for caption in captions)
        draw.multiline_text((left, top + TILE + 2), text, fill="black", font=font, spacing=2)
    return sheet


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, path: str, left: int, top: int) -> None:
    try:
        sheet.paste(Image.fromarray(decode(read_image_file(path), TILE, "pad")), (left, top))
    except (BadImage, DatasetError):
        draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline="red")


def _short(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= LETTERS else shown[: LETTERS - 1] + "…"
