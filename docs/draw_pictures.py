"""Draw docs/terminal.svg and docs/report.png: a study of the digits in a terminal while it runs, and its report.

    python docs/draw_pictures.py [FOLDER]

`make pictures` installs what this needs: pyte, which is a terminal, and a browser. It takes two minutes.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyte
from PIL import Image
from playwright.sync_api import sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 100, 30
ENDED = 5
"""Trials that have ended in the picture of a running study."""

WIDTH, HEIGHT = 1100, 1500  # pixels of the report
PALETTE = 128
"""Colours of its picture, which is a third of the size for that."""

CHARTS = "[...document.querySelectorAll('.chart')]"
ALL_DRAWN = f"{CHARTS}.length > 5 && {CHARTS}.every((one) => one.querySelector('.main-svg'))"

COLORS = {"brown": "yellow", "brightbrown": "bright_yellow"}
"""What pyte calls otherwise than Rich."""


def main(into: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*SWEEPER, "init", "--example", "quickstart"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        draw_terminal(run_in_terminal(Path(folder)), into / "terminal.svg")
        draw_report(Path(folder) / "reports" / "quickstart.html", into / "report.png")


SWEEPER = (sys.executable, "-m", "sweeper")
RUN = ("run", "search_spaces/quickstart.yaml")


def run_in_terminal(folder: Path) -> Text:
    """Run the study in a terminal of its own, and return what its screen showed once some trials had ended."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream, shown = pyte.ByteStream(screen), Text()
    inside, outside = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
    with subprocess.Popen(
        [*SWEEPER, *RUN], cwd=folder, env={**os.environ, **size}, stdin=outside, stdout=outside, stderr=outside
    ) as process:
        os.close(outside)
        while read := _read(inside):
            stream.feed(read)
            if not shown and sum("complete" in line or "pruned" in line for line in screen.display) >= ENDED:
                shown = _as_text(screen)
    os.close(inside)
    if process.returncode or not shown:
        sys.exit("the study did not run as expected; its last screen:\n" + "\n".join(screen.display))
    return shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the program has closed it
        return b""


def _as_text(screen: pyte.Screen) -> Text:
    """Return what a screen shows, with its colours."""
    lines = [_line(screen.buffer[row]) for row in range(screen.lines)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return Text("\n").join(lines)


def _line(cells: Any) -> Text:
    text = Text()
    for column in range(COLUMNS):
        cell = cells[column]
        colour = COLORS.get(cell.fg, cell.fg.replace("bright", "bright_"))
        style = "" if colour == "default" else f"#{colour}" if re.fullmatch("[0-9a-f]{6}", colour) else colour
        text.append(cell.data, f"{'bold ' if cell.bold else ''}{style}".strip() or None)
    text.rstrip()
    return text


def draw_terminal(shown: Text, file: Path) -> None:
    """Write a screen as a picture that fetches no font."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(shown)
    form = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(file), title=f"sweeper {' '.join(RUN)}", code_format=form, unique_id="terminal")


def draw_report(page: Path, file: Path) -> None:
    """Write the first screens of a report as a picture."""
    browser_file = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_file, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", bypass_csp=True)
        shown.goto(page.as_uri())
        shown.wait_for_function(ALL_DRAWN)
        picture = Image.open(io.BytesIO(shown.screenshot()))
        browser.close()
    picture.convert("RGB").quantize(PALETTE).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
