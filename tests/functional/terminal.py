"""The real program in a terminal of its own, with somebody who answers."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.functional.program import environment

PATIENCE_S = 120


def answered(command: Sequence[str], answers: Sequence[tuple[str, str]], folder: Path) -> tuple[int, str]:
    """Run `sweeper COMMAND` in a terminal, give each answer once its question is there; return code and screen."""
    inside, outside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeper", *command],
        cwd=folder,
        env={**environment(), "COLUMNS": "100", "TERM": "xterm"},
        stdin=outside,
        stdout=outside,
        stderr=outside,
        start_new_session=True,
    )
    os.close(outside)
    screen, seen, left = "", 0, list(answers)
    until = time.monotonic() + PATIENCE_S
    while (read := _read(inside)) is not None:
        screen += read
        if left and left[0][0] in screen[seen:]:
            seen = len(screen)
            os.write(inside, f"{left.pop(0)[1]}\n".encode())
        if time.monotonic() > until:
            process.kill()
            raise AssertionError(f"the program does not end; its screen:\n{screen}")
    os.close(inside)
    return process.wait(), screen.replace("\r\n", "\n")


def _read(terminal: int) -> str | None:
    """Return what has been printed within half a second; None once the program has closed the terminal."""
    if not select.select([terminal], [], [], 0.5)[0]:
        return ""
    try:
        return os.read(terminal, 65536).decode(errors="replace") or None
    except OSError:
        return None
