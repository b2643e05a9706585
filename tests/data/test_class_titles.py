"""Titles of classes."""

from __future__ import annotations

from pathlib import Path

from sweeper.data.class_titles import class_titles


def test_a_class_is_titled_with_its_first_word_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("n1\tgoldfish, Carassius auratus\nn3\tbee\n")
    assert class_titles(tmp_path, ["n1", "n2", "n3"]) == ("n1 goldfish", "n2", "n3 bee")


def test_without_words_the_names_are_the_titles(tmp_path: Path) -> None:
    assert class_titles(tmp_path, ["cat", "dog"]) == ("cat", "dog")
