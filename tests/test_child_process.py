"""Processes are forked from one that has imported what trials need, and that nothing speaks against forking."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from sweeper import child_process
from sweeper.child_process import NEEDED_FOR_TRIALS, start_prepared

REPOSITORY = Path(__file__).parents[1]
PATIENCE_S = 60.0
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")

FORK = """
import os, sys
for name in {modules}:
    __import__(name)
import torch
if {start_cuda}:
    torch._C._cuda_getDeviceCount()
if not os.fork():
    os._exit(torch.cuda._is_in_bad_fork())
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def answer(connection: Connection) -> None:
    """Tell what this process has imported, where it stands, its parent, and whether signals are held back."""
    imported = [name for name in NEEDED_FOR_TRIALS if name in sys.modules]
    blocked = {signal.SIGINT, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    connection.send((imported, str(Path.cwd()), os.getppid(), blocked))
    connection.recv()


def start() -> tuple[multiprocessing.process.BaseProcess, Connection]:
    ours, theirs = multiprocessing.Pipe()
    return start_prepared(answer, (theirs,), "test"), ours


@linux
def test_a_process_has_all_imports_the_current_folder_and_no_ear_for_signals_to_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    process, connection = start()
    imported, folder, _, blocked = connection.recv()
    assert imported == list(NEEDED_FOR_TRIALS)
    assert folder == str(tmp_path)
    assert blocked
    connection.send(None)
    process.join(PATIENCE_S)
    assert process.exitcode == 0


@linux
def test_when_the_process_they_are_forked_from_dies_the_next_is_forked_from_a_new_one() -> None:
    process, connection = start()
    origin = connection.recv()[2]
    os.kill(origin, signal.SIGKILL)
    while psutil.Process(origin).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    process.kill()
    process.join(PATIENCE_S)
    again, connection = start()
    imported, _, other, blocked = connection.recv()
    assert other != origin
    assert imported == list(NEEDED_FOR_TRIALS)
    assert blocked
    again.kill()
    again.join(PATIENCE_S)


def test_a_start_is_repeated_while_the_dead_process_is_not_quite_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    class Refused:
        def start(self) -> None:
            tried.append(1)
            if len(tried) < 3:
                raise ConnectionRefusedError

    monkeypatch.setattr(child_process, "_ensure_server", lambda: None)
    child_process._start_forked(Refused())  # type: ignore[arg-type]
    assert len(tried) == 3


@linux
@pytest.mark.parametrize("start_cuda", [False, True])
def test_what_is_imported_before_a_fork_does_not_start_cuda(start_cuda: bool) -> None:
    """CUDA cannot be used in a fork of a process that has as much as counted its devices."""
    program = FORK.format(modules=NEEDED_FOR_TRIALS, start_cuda=start_cuda)
    ended = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(REPOSITORY)}, check=False)
    assert ended.returncode == int(start_cuda)
