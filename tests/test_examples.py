"""Hypothesis gives a test the same examples in every run, whatever ran before it in the same process."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import PROFILE


def drawn() -> list[float]:
    values: list[float] = []

    @settings(max_examples=300, derandomize=True, database=None)
    @given(st.floats(0, 1))
    def collect(value: float) -> None:
        values.append(value)

    collect()
    return values


@pytest.mark.skipif(PROFILE != "repeat", reason="HYPOTHESIS_PROFILE asks for other examples in each run")
def test_examples_do_not_depend_on_the_modules_that_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = drawn()
    numbers = ", ".join(f"0.{number:03d}7" for number in range(500))
    (tmp_path / "with_many_numbers.py").write_text(f"NUMBERS = [{numbers}]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("with_many_numbers")
    try:
        assert drawn() == before
    finally:
        del sys.modules["with_many_numbers"]
