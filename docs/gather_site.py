"""Put the pages of the documentation site into build/pages, as the repository has them.

    python docs/gather_site.py

`make site` runs this and renders what it has put there. Pages keep their paths, so that their links are right both in
the repository and on the site. A browser does not show source files, so each that a page links to becomes a page too.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
SHOWN = {".svg", ".png", ".json", ".ipynb", ".css"}  # kinds of files beside the pages in docs/; the rest are programs
LANGUAGES = {".py": "python", ".yaml": "yaml", "": "text"}  # of files that become pages
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")  # to a file; not to an address, nor within the page


def pages() -> list[Path]:
    """Return the pages, the front page first."""
    single = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "models/README.md"]
    return [*(ROOT / name for name in single), *sorted((ROOT / "docs").glob("*.md"))]


def becomes_a_page(target: Path) -> bool:
    return target.is_file() and target.suffix in LANGUAGES


def linked(page: Path) -> set[Path]:
    """Return the source files that a page links to."""
    targets = ((page.parent / target).resolve() for target, _ in LINK.findall(page.read_text()))
    return {target for target in targets if becomes_a_page(target)}


def with_links_to_pages(page: Path) -> str:
    """Return a page whose links to source files lead to the pages that those become."""

    def replaced(link: re.Match[str]) -> str:
        found = becomes_a_page((page.parent / link[1]).resolve())
        return f"]({link[1]}.md)" if found else link[0]

    return LINK.sub(replaced, page.read_text())


def source_page(file: Path) -> str:
    """Return a page that shows a source file."""
    return f"# {file.relative_to(ROOT)}\n\n``````{LANGUAGES[file.suffix]}\n{file.read_text()}``````\n"


def gather(into: Path) -> None:
    """Write all pages, and what they show, into a folder that is made anew."""
    shutil.rmtree(into, ignore_errors=True)
    (into / "docs").mkdir(parents=True)
    for page in pages():
        _write(into, page.relative_to(ROOT), with_links_to_pages(page))
    for file in {file for page in pages() for file in linked(page)}:
        _write(into, Path(f"{file.relative_to(ROOT)}.md"), source_page(file))
    for file in (ROOT / "docs").iterdir():
        if file.suffix in SHOWN:
            shutil.copy(file, into / "docs")


def _write(into: Path, path: Path, text: str) -> None:
    (into / path).parent.mkdir(parents=True, exist_ok=True)
    (into / path).write_text(text)


if __name__ == "__main__":
    gather(PAGES)
