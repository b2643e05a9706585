"""The page of all keys: each says what it means, and leads to the keys that it holds."""

from __future__ import annotations

import re

from sweeper.config.reference import markdown

ROW = re.compile(r"^\| `[^`]+` \| (?P<takes>.+?) \| (?P<default>.+?) \| (?P<meaning>.*) \|$", re.MULTILINE)


def test_every_key_says_what_it_means() -> None:
    rows = list(ROW.finditer(markdown()))
    assert len(rows) > 100
    for row in rows:
        assert re.search(r"\w{2}.*[.)]$", row["meaning"]), row[0]


def test_a_key_that_holds_keys_leads_to_their_section() -> None:
    page = markdown()
    headings = {
        re.sub(r"[^\w-]", "", line.lower().replace(" ", "-")) for line in re.findall(r"^#+ `(.+)`$", page, re.MULTILINE)
    }
    links = re.findall(r"\]\(#(\w+)\)", page)
    assert len(links) > 15
    assert set(links) <= headings
