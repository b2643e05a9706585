"""What is printed where the output cannot hold every character."""

from __future__ import annotations

import io
import sys

import pytest

from sweeper.commands.streams import outlast_the_reader


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "???"), ("latin1", "?\u00e9?"), ("cp1252", "?\u00e9?"), ("utf-8", "\u2588\u00e9?")],
)
def test_a_character_that_the_output_cannot_hold_is_replaced(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    outlast_the_reader()
    for stream in (sys.stdout, sys.stderr):
        print("\u2588\u00e9\udcff", file=stream, end="", flush=True)
        assert stream.buffer.getvalue().decode(encoding) == shown  # type: ignore[union-attr]
