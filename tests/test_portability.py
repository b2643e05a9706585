"""What is asked of the system is done another way where only Linux has it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sweeper import child_process
from sweeper.data import decode_all, decoding_pool
from sweeper.study.card import environment
from sweeper.training import host_allocator
from sweeper.training.device import peak_memory_mb, reset_peak_memory
from tests.test_child_process import answer

PATIENCE_S = 60.0
PROC = Path("/proc")


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(method: Any) -> Any:
        def used(path: Path, *given: Any, **named: Any) -> Any:
            if path.is_relative_to(PROC):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return method(path, *given, **named)

        return used

    for name in ("read_text", "write_text", "read_bytes"):
        monkeypatch.setattr(Path, name, missing(getattr(Path, name)))


@pytest.fixture
def on_macos(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process may be forked from a prepared one, and the C library has nothing of Linux."""

    def without(name: str | None) -> Any:
        raise OSError(f"{name} has no prctl")

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", without)
    child_process._context.cache_clear()
    yield
    child_process._context.cache_clear()


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


def test_processes_are_spawned_where_they_are_not_forked(on_macos: None) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = child_process.start_prepared(answer, (theirs,), "test")
    assert ours.poll(PATIENCE_S)
    _, folder, parent, _ = ours.recv()
    assert (folder, parent) == (str(Path.cwd()), os.getpid())
    ours.send(None)
    process.join(PATIENCE_S)
    assert process.exitcode == 0


def test_a_process_asks_a_kernel_without_prctl_for_nothing(on_macos: None) -> None:
    child_process._take_name(b"name")
    child_process._die_before_parent()


def test_memory_and_processor_are_told_without_proc(without_proc: None) -> None:
    cpu = torch.device("cpu")
    reset_peak_memory(cpu)
    assert peak_memory_mb(cpu) > 50
    assert not environment().startswith(",")


def test_another_c_library_keeps_its_way_with_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    host_allocator.keep_freed_memory.cache_clear()
    try:
        assert host_allocator.keep_freed_memory() is False
        host_allocator.give_back_freed_memory()
    finally:
        host_allocator.keep_freed_memory.cache_clear()
