"""What a worker prints before it ends: the last line of its log, which the driver passes on."""

from __future__ import annotations


def last_words(why: str) -> None:
    """Print why this process ends, for people, in one line."""
    print(why, flush=True)  # noqa: T201
