"""How a process says why it ends: by the last line of its log, which the driver passes on."""

from __future__ import annotations


def print_reason(why: str) -> None:
    """Print why this process ends, for people, in one line."""
    print(why, flush=True)  # noqa: T201
