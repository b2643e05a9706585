"""Draw docs/layers.svg: the layers of the package, from the contract in pyproject.toml and each room's own docstring.

    python docs/draw_layers.py

A row is a layer; what stands in it may import only what stands below.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "layers.svg"
WIDTH, ROW, GAP, MARGIN = 960, 46, 8, 12  # pixels
LETTER = 5.5  # width of a small letter, in pixels

SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{{ width }}" height="{{ height }}" font-family="sans-serif" role="img">
<title>The layers of sweeper: each imports only what stands below it</title>
<rect width="100%" height="100%" fill="#ffffff"/>
{% for box in boxes -%}
<g><title>{{ box.name }}: {{ box.about }}</title>
<rect x="{{ box.x }}" y="{{ box.y }}" width="{{ box.width }}" height="{{ row }}" rx="4"
  fill="#eef3f8" stroke="#57687a"/>
<text x="{{ box.x + 10 }}" y="{{ box.y + 18 }}" font-size="13" font-weight="bold" fill="#1b2733">{{ box.name }}</text>
<text x="{{ box.x + 10 }}" y="{{ box.y + 35 }}" font-size="11" fill="#43525f">{{ box.shown }}</text></g>
{% endfor %}</svg>
"""


@dataclass(frozen=True)
class Box:
    """A room in the picture; positions and sizes in pixels."""

    name: str
    about: str
    x: int
    y: int
    width: int

    @property
    def shown(self) -> str:
        """What fits of the description."""
        letters = int((self.width - 20) / LETTER)
        return self.about if len(self.about) <= letters else f"{self.about[: letters - 1].rstrip(' ,;:')}…"


def layers() -> list[list[str]]:
    """Return the rooms of each layer, from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip() for room in row.split("|")] for row in rows]


def described(room: str) -> tuple[str, str]:
    """Return a room's name as its path, and the first sentence of its docstring."""
    path = ROOT.joinpath(*room.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0].split())
    return f"{path.name}/" if path.is_dir() else file.name, text.split(". ")[0].rstrip(".").replace("`", "")


def boxes() -> list[Box]:
    drawn = []
    for number, row in enumerate(layers()):
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) // len(row)
        for place, room in enumerate(row):
            drawn.append(Box(*described(room), MARGIN + place * (width + GAP), MARGIN + number * (ROW + GAP), width))
    return drawn


def picture() -> str:
    """Return the picture as SVG."""
    height = 2 * MARGIN + len(layers()) * (ROW + GAP) - GAP
    template = Environment(autoescape=True).from_string(SVG)
    return template.render(boxes=boxes(), width=WIDTH, height=height, row=ROW)


if __name__ == "__main__":
    PICTURE.write_text(picture())
