"""Labels that are none, and classes that look alike: what annotators, spreadsheets and file systems make of names."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

from sweeper.data.listing import Listing, in_class_order

MISSING = frozenset(
    ("", "nan", "NaN", "NAN", "-nan", "None", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "NaT")
)
"""What programs write where there is no label."""

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
LONGEST_NUMBER = 30  # digits; a longer one is a name
NO_WIDTH = ("Cf", "Cc")
"""Unicode's categories of characters that nobody sees."""


def is_missing(label: str) -> bool:
    return label in MISSING


def plain(label: str) -> str:
    """Return what is left of a label when case, blanks, invisible characters, Unicode forms and `1.0` are the same."""
    text = "".join(" " if c.isspace() else c for c in unicodedata.normalize("NFKC", label))
    seen = "".join(c for c in text if unicodedata.category(c) not in NO_WIDTH)
    folded = unicodedata.normalize("NFKC", " ".join(seen.split()).casefold())
    if NUMBER.fullmatch(folded) and folded.isascii() and len(folded) < LONGEST_NUMBER:
        number = Decimal(folded)
        return f"{number.normalize():f}" if number else "0"
    return folded


def look_alikes(classes: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of classes that differ in nothing that can be seen or meant, sorted."""
    alike = defaultdict(list)
    for name in classes:
        alike[plain(name)].append(name)
    return tuple(tuple(sorted(names)) for _, names in sorted(alike.items()) if len(names) > 1)


def merged(listing: Listing) -> Listing:
    """Return a listing in which classes that look alike are one, named as most of their images are."""
    counts = Counter(listing.class_names)
    names: dict[str, str] = {}
    found = look_alikes(listing.classes)
    for alike in found:
        frequent = min(alike, key=lambda name: (-counts[name], name))
        names |= dict.fromkeys(alike, _clean(frequent))
    class_names = [names.get(name, name) for name in listing.class_names]
    classes = in_class_order({names.get(name, name) for name in listing.classes})
    return replace(listing, class_names=class_names, classes=classes, merged=found)


def _clean(name: str) -> str:
    """Return a name without what cannot be seen; a number without what it does not need."""
    number = plain(name)
    if NUMBER.fullmatch(number):
        return number
    text = "".join(" " if c.isspace() else c for c in unicodedata.normalize("NFC", name))
    return " ".join("".join(c for c in text if unicodedata.category(c) not in NO_WIDTH).split()) or name


def written(names: Sequence[str]) -> str:
    """Write names so that what cannot be seen in them is seen: `café` in two forms has two spellings here."""
    return " = ".join(_visible(name, names) for name in names)


def _visible(name: str, others: Sequence[str]) -> str:
    plainly = all(c.isprintable() for c in name) and "  " not in name
    twins = sum(unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name) for other in others)
    return repr(name) if plainly and twins == 1 and name.isprintable() else ascii(name)
