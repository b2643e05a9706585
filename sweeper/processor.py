"""What the processor can compute, read without torch, which takes seconds to load."""

from __future__ import annotations

from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux lists what a processor can do."""

BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Names of instructions that multiply bfloat16 numbers: of Intel's and AMD's processors, and the last of ARM's."""


@cache
def computes_bfloat16() -> bool | None:
    """Return whether the processor has instructions for bfloat16; None where that is not known."""
    features = _features()
    return bool(BFLOAT16 & features) if features else None


def _features() -> set[str]:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not on Linux
        return set()
    listed = (line.partition(":") for line in lines)
    return {word for key, _, words in listed if key.strip() in ("flags", "Features") for word in words.split()}
