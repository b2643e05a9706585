"""Text in pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

PLAIN, MONOSPACED = "DejaVuSans", "DejaVuSansMono"  # matplotlib brings both, with letters of most scripts


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font in pixels."""
    file = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def text_image(text: str, font_name: str, size: int) -> Image.Image:
    """Return lines of black text, just as large as they are."""
    chosen = font(font_name, size)
    _, _, right, bottom = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((0, 0), text, chosen)
    image = Image.new("RGB", (int(right) + 1, int(bottom) + 1), "white")
    ImageDraw.Draw(image).multiline_text((0, 0), text, "black", chosen)
    return image


def one_line(name: str) -> str:
    """Return a class name without what moves to another line or is not a character."""
    return " ".join(name.encode("utf-8", "replace").decode().split())
