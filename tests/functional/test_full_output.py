"""What a command prints into a file on a full disk: the command does not count it as done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.program import REPOSITORY

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no file that is always full")
def test_a_command_whose_output_has_no_room_fails_and_says_so() -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sweeper", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
    assert done.returncode == 4
    assert "what was printed could not be written whole: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_ends_early_is_no_failure() -> None:
    command = f"{sys.executable} -m sweeper schema; echo $? >&2"
    done = subprocess.run(["bash", "-c", f"({command}) | head -c 5"], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stderr.strip() == "0"
