"""What the values of an export's configuration may be: an export may come from a stranger."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import AfterValidator, Field

LARGEST_FILE = 256 * 2**20  # bytes of a config.json; a million classes with long names take a tenth of it
MOST_CLASSES = 1_000_000
BATCH_BYTES = 2**30  # of the images that go through the network at once


def is_inside(name: str) -> str:
    if not name or name.startswith("/") or "\\" in name or {"", ".", ".."} & set(name.split("/")):
        raise ValueError(f"should be the name of a file in the export, and {name[:80]!r} leads outside the export")
    return name


def are_different(classes: tuple[str, ...]) -> tuple[str, ...]:
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise ValueError(f"should be different classes, got {twice[0][:80]!r} twice")
    return classes


InnerName = Annotated[str, Field(max_length=4096), AfterValidator(is_inside)]
Classes = Annotated[
    tuple[Annotated[str, Field(max_length=10_000)], ...],
    Field(min_length=1, max_length=MOST_CLASSES),
    AfterValidator(are_different),
]
Means = tuple[Annotated[float, Field(ge=-1e3, le=1e3)], ...]
Deviations = tuple[Annotated[float, Field(ge=1e-6, le=1e6)], ...]
Bits = Annotated[int, Field(ge=8, le=16)]
Temperature = Annotated[float, Field(ge=0.01, le=100)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
