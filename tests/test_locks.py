"""Locks on open files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.locks import lock


def test_a_file_that_is_locked_cannot_be_locked_again_until_its_holder_closes_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with file.open("a+") as first:
        lock(first.fileno())
        with file.open("a+") as second, pytest.raises(BlockingIOError):
            lock(second.fileno(), blocking=False)
    with file.open("a+") as third:
        lock(third.fileno(), blocking=False)


def test_readers_share_a_lock_and_keep_writers_out(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with file.open("a+") as first, file.open("a+") as second, file.open("a+") as writer:
        lock(first.fileno(), blocking=False, shared=True)
        lock(second.fileno(), blocking=False, shared=True)
        with pytest.raises(BlockingIOError):
            lock(writer.fileno(), blocking=False)
