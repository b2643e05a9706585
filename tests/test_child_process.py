"""Processes are forked from one that has imported what trials need, and that nothing speaks against forking."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

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

PROGRAM = """
import multiprocessing
from sweeper.child_process import spawning, start_prepared
from tests.test_child_process import tell_main

def ask(start):
    ours, theirs = multiprocessing.Pipe()
    process = start(theirs)
    found = ours.recv()
    process.join()
    return found

def spawn(context, pipe):
    process = context.Process(target=tell_main, args=(pipe,))
    process.start()
    return process
"""
CALLS = [
    'print("ours", ask(lambda pipe: start_prepared(tell_main, (pipe,), "test")))',
    'print("ours", ask(lambda pipe: spawn(spawning(), pipe)))',
    'print("theirs", ask(lambda pipe: spawn(multiprocessing.get_context("spawn"), pipe)))',
]


def answer(connection: Connection) -> None:
    """Tell what this process has imported, where it stands, its parent, and whether signals are held back."""
    imported = [name for name in NEEDED_FOR_TRIALS if name in sys.modules]
    blocked = {signal.SIGINT, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
    connection.send((imported, str(Path.cwd()), os.getppid(), blocked))
    connection.recv()


def tell_main(connection: Connection) -> None:
    """Tell whether this process has imported the program that started it."""
    connection.send(getattr(sys.modules["__main__"], "__file__", "").endswith("program.py"))


@pytest.mark.parametrize("guarded", [True, False])
def test_our_processes_import_the_program_that_starts_them_only_where_it_is_guarded(
    tmp_path: Path, guarded: bool
) -> None:
    calls = CALLS if guarded else [line for line in CALLS if "theirs" not in line]  # which would run it for ever
    lines = (
        [PROGRAM, 'if __name__ == "__main__":', *(f"    {line}" for line in calls)] if guarded else [PROGRAM, *calls]
    )
    (tmp_path / "program.py").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = ["ours True", "ours True", "theirs True"] if guarded else ["ours False", "ours False"]
    assert done.stdout.splitlines() == expected


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
    os.kill(origin, signal.SIGKILL)  # and do not wait for its end: the next start may come while its threads end
    process.kill()
    process.join(PATIENCE_S)
    again, connection = start()
    imported, _, other, blocked = connection.recv()
    assert other != origin
    assert imported == list(NEEDED_FOR_TRIALS)
    assert blocked
    again.kill()
    again.join(PATIENCE_S)


class Refused:
    """A process whose starts end with `errors`, one after the other, before one succeeds."""

    def __init__(self, errors: list[type[Exception]]) -> None:
        self.errors = errors

    def start(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


@pytest.mark.parametrize("error", [ConnectionRefusedError, ConnectionResetError, BrokenPipeError, EOFError])
def test_a_start_is_repeated_while_the_dead_process_is_not_quite_gone(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(child_process, "_ensure_server", lambda: None)
    process = Refused([error, error])
    child_process._start_forked(process)  # type: ignore[arg-type]
    assert not process.errors


def test_a_start_fails_when_every_process_that_forks_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_ensure_server", lambda: None)
    with pytest.raises(EOFError):
        child_process._start_forked(Refused([EOFError] * 50))  # type: ignore[arg-type]


@linux
@pytest.mark.parametrize("start_cuda", [False, True])
def test_what_is_imported_before_a_fork_does_not_start_cuda(start_cuda: bool) -> None:
    """CUDA cannot be used in a fork of a process that has as much as counted its devices."""
    program = FORK.format(modules=NEEDED_FOR_TRIALS, start_cuda=start_cuda)
    ended = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(REPOSITORY)}, check=False)
    assert ended.returncode == int(start_cuda)
