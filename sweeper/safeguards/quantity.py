"""A number with its noun, for sentences."""

from __future__ import annotations


def quantity(number: int, one: str, several: str | None = None) -> str:
    """Return `1 trial` or `2,000 trials`; `several` is the plural where it has no plain s."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
