"""What decoding asks of the system is done without it where only Linux has it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sweeper.data import decode_all, decoding_pool


def test_space_is_claimed_by_writing_where_the_system_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(decode_all, "CLAIMED_AT_ONCE", 1000)
    file = tmp_path / "images.npy"
    decode_all._reserve(file, (3, 20, 20, 3))
    found = np.load(file)
    assert (found.shape, found.dtype, int(found.sum())) == ((3, 20, 20, 3), np.dtype(np.uint8), 0)


def test_all_cores_decode_where_the_system_does_not_say_which_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert decoding_pool.decoding_processes() >= 1
