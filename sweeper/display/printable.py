"""Text from outside, such as names of files and classes, as it may be shown in a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape what would steer the terminal: file names and labels may hold any character."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
