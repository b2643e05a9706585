"""Text from outside, such as names of files and classes, as it may be shown: on a terminal, in a log, on a page."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape what would steer a terminal or turn text round, but for the ends of lines: for whole messages of ours."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """Escape the ends of lines too: a name must not look like a line of ours."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
