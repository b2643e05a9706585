"""The documentation site: its pages are all in the navigation, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.functional.program import REPOSITORY

GATHERING = runpy.run_path(str(REPOSITORY / "docs" / "gather_site.py"))
PAGES: list[Path] = GATHERING["pages"]()
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s:]*)\)")
CODE = re.compile(r"^```.*?^```|^ {4}[^\n]*$", re.MULTILINE | re.DOTALL)


def navigation() -> dict[str, list[str]]:
    """Return the sections of the site with their pages."""
    listed = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]
    named = {title: content for entry in listed for title, content in entry.items()}
    return {title: content if isinstance(content, list) else [content] for title, content in named.items()}


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number = sum(re.fullmatch(rf"{re.escape(words)}(-\d+)?", anchor) is not None for anchor in found)
        found.add(f"{words}-{number}" if number else words)
    return found


def test_the_site_lists_every_page_once() -> None:
    listed = [path for paths in navigation().values() for path in paths]
    assert sorted(listed) == sorted(str(page.relative_to(REPOSITORY)) for page in PAGES)


def test_the_site_leads_from_learning_to_doing_to_looking_up_to_understanding() -> None:
    assert [*navigation()] == ["Start", "Tutorial", "How to", "Reference", "Explanation", "Project"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_anchor_that_a_page_links_to_exists(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        target, _, anchor = link.partition("#")
        if anchor:
            assert anchor in anchors((page.parent / target).resolve() if target else page), link


def test_an_anchor_drops_marks_and_counts_what_is_there_twice(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b.c`, twice\n\n```\n# no heading\n```\n\n## More\n\n## More\n")
    assert anchors(page) == {"a-bc-twice", "more", "more-1"}


def test_a_link_to_a_source_file_leads_to_a_page_that_shows_it(tmp_path: Path) -> None:
    GATHERING["gather"](tmp_path)
    assert "(../search_spaces/food11.yaml.md)" in (tmp_path / "docs/studies.md").read_text()
    shown = (tmp_path / "search_spaces/food11.yaml.md").read_text()
    assert (REPOSITORY / "search_spaces/food11.yaml").read_text() in shown


def test_the_site_has_what_its_pages_show(tmp_path: Path) -> None:
    GATHERING["gather"](tmp_path)
    for page in tmp_path.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)", CODE.sub("", page.read_text())):
            assert (page.parent / target).exists(), f"{page.relative_to(tmp_path)}: {target}"


@pytest.mark.slow  # it needs the program that builds sites, which `make site` installs
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    zensical = shutil.which("zensical", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if zensical is None:
        pytest.skip("zensical is not installed: `make site` installs it")
    shutil.copy(REPOSITORY / "mkdocs.yml", tmp_path)
    GATHERING["gather"](tmp_path / "build" / "pages")
    command = [zensical, "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    assert "exit-codes" in (tmp_path / "site" / "index.html").read_text()
