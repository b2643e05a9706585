"""Class names that people can read, where a data set brings them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WORDS = "words.txt"
"""Tiny ImageNet's file of WordNet ids and their words, a tab between them."""


def class_titles(root: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """Return a title for every class: its name, and its first word where `words.txt` has one."""
    file = root / WORDS
    if not file.is_file():
        return tuple(classes)
    wanted = set(classes)
    lines = (line.partition("\t") for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    words = {name: text.split(",")[0].strip() for name, _, text in lines if name in wanted}
    return tuple(f"{name} {words[name]}" if words.get(name) else name for name in classes)
