"""A number with its noun, for sentences."""

from __future__ import annotations


def quantity(number: int, one: str, several: str | None = None) -> str:
    """Return `1 trial` or `2,000 trials`; `several` is the plural where it has no plain s."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def amount(number: float, one: str) -> str:
    """Return `1 CPU`, `0.5 CPUs`: of what may come in parts."""
    return f"{number:g} {one if number == 1 else f'{one}s'}"


def portion(done: int, planned: int | None, one: str, *, between: str = " of ") -> str:
    """Return `3 of 8 trials`; `3 trials` where nobody knows how many are to come, or more are done than planned."""
    if planned is None or done > planned:
        return quantity(done, one)
    return f"{done:,}{between}{quantity(planned, one)}"
