"""How a process says why it ends: by the last line of its log, which the driver passes on."""

from __future__ import annotations

from pathlib import Path


def print_reason(why: str) -> None:
    """Print why this process ends, for people, in one line."""
    print(why, flush=True)  # noqa: T201


def last_line(log: Path) -> str:
    """Return the last line that a process has printed, or nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else ""
