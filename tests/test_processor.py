"""What a processor can compute is read from what Linux tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeper import processor
from sweeper.processor import computes_bfloat16


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    computes_bfloat16.cache_clear()
    yield
    computes_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("told", "computes"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu sse2 avx2 avx512f avx512_vnni\n", False),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("Features\t: fp asimd ebf16\n", False),
        ("model name\t: bf16\nflags\t\t: fpu\n", False),
        ("isa\t: rv64\n", None),
    ],
)
def test_instructions_for_bfloat16_are_found_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, computes: bool | None
) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "cpuinfo")
    assert computes_bfloat16() is computes


def test_where_nothing_is_told_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPU_INFO", tmp_path / "none")
    assert computes_bfloat16() is None
