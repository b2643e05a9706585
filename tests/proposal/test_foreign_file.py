"""A file of another program that has the name of the search space for a folder of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.commands.run import _is_of_another_program


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("train: images/train\nnames: [cat, dog]\n", True),
        ("study: birds\ndataset: {path: birds}\nsearch: {backbone: r}\n", False),
        ("dataset: {path: birds}\n", False),
        ("study: [unfinished", False),
        ("", False),
    ],
)
def test_a_file_without_any_section_of_a_search_space_is_of_another_program(
    text: str, foreign: bool, tmp_path: Path
) -> None:
    """It is neither used nor called ours; one that cannot be read is told as what it is."""
    (tmp_path / "birds.yaml").write_text(text)
    assert _is_of_another_program(tmp_path / "birds.yaml") == foreign
