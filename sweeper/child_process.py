"""How processes that compute for their parent are started, and how they behave.

Those of `multiprocessing` import the program that the parent runs, so that a script without the line
`if __name__ == "__main__":` runs again in each. Ours need nothing of it, and leave such a script alone.
"""

from __future__ import annotations

import ast
import atexit
import ctypes
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import forkserver, resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

NEEDED_FOR_TRIALS = (
    "sweeper.engines.worker",
    "sweeper.training.trainer",
    "sweeper.training.stack.fused",
    "sweeper.data.feature_cache",
    "sweeper.data.prepare",
    "sweeper.modeling.registry",
)
"""What takes seconds to import. None of it starts CUDA, which a fork would not survive."""


PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Ends a process for certain; Windows has one way alone."""

PATIENCE, PAUSE_S = 100, 0.05
"""How often, and how long, it is waited for a process that forks to be gone after it was killed."""

DEATHS = 3
"""How many processes that fork may end while one start waits for their answer: more were not killed by chance."""

OOM_SCORE = "500"  # of 1000: like a process that holds half the machine's memory more than it does

FOR_THE_PARENT = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C reaches all processes of a terminal, and a scheduler's SIGTERM all of a job; the parent decides."""


@contextmanager
def deaf() -> Iterator[None]:
    """Start processes that neither Ctrl-C nor SIGTERM reaches, not even while they import what they need.

    Both are held back from this thread meanwhile, and come through afterwards.
    """
    resource_tracker.ensure_running()  # whose start, with that of the first process, would let them through again
    if sys.platform == "win32":  # which has no masks, and no signals to all of a job
        yield
    else:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_PARENT)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


MAIN = ("init_main_from_name", "init_main_from_path")
"""By which `multiprocessing` tells a process what program its parent runs."""

_of_python = spawn.get_preparation_data
_own = threading.local()


def _preparation_data(name: str) -> dict[str, Any]:
    """Return what a process learns about its parent; a program that it would run again is left out for ours."""
    data: dict[str, Any] = _of_python(name)
    if getattr(_own, "starting", False) and not _is_guarded(getattr(sys.modules["__main__"], "__file__", "")):
        for key in MAIN:
            data.pop(key, None)
    return data


spawn.get_preparation_data = _preparation_data


@cache
def _is_guarded(program: str) -> bool:
    """Return whether a program has the line `if __name__ == "__main__":`.

    One that has is imported as usual: it may register architectures, or set up Pillow, for our processes.
    """
    try:
        tree = ast.parse(Path(program).read_bytes())
    except (OSError, ValueError, SyntaxError):
        return False
    tests = [node.test for node in tree.body if isinstance(node, ast.If)]
    return any(isinstance(part, ast.Name) and part.id == "__name__" for test in tests for part in ast.walk(test))


@contextmanager
def without_unguarded_main() -> Iterator[None]:
    """Start processes from this thread; they import the program that this one runs only if it is guarded."""
    _own.starting = True
    try:
        yield
    finally:
        _own.starting = False


class _Spawned(SpawnProcess):
    def start(self) -> None:
        with without_unguarded_main():
            super().start()


class _Spawning(SpawnContext):
    Process = _Spawned


def spawning() -> SpawnContext:
    """Return a way to spawn processes that import the program which this one runs only if it is guarded."""
    return _Spawning()


def prepare_processes() -> None:
    """Begin to import, in a process of its own, what trials need; those of `start_prepared` are forked from it."""
    if _is_forked(_context()):
        _ensure_server()


def start_prepared(target: Callable[..., object], arguments: tuple[Any, ...], name: str) -> BaseProcess:
    """Start a process that has imported what trials need, that no signal to all reaches, and that ends with this one.

    Waits for `prepare_processes` where that still imports. Where processes cannot be forked from a prepared
    one, this one imports for itself.
    """
    context = _context()
    process: BaseProcess = context.Process(target=target, args=arguments, name=name, daemon=True)
    prepare_processes()
    with without_unguarded_main():
        if _is_forked(context):
            _start_forked(process)
        else:
            with deaf():
                process.start()
    atexit.register(process.kill)  # multiprocessing asks by SIGTERM, and waits
    return process


def _start_forked(process: BaseProcess) -> None:
    """Start a process by the one that forks; when that has just died, its end shows once all its threads are gone.

    While they end, its socket may still take the request and close without an answer. Should it have forked a process
    by then, that one ends at once: what ties it to this one is closed.
    """
    deaths = 0
    for _ in range(PATIENCE):
        try:
            process.start()
        except (ConnectionError, EOFError) as error:
            deaths += not isinstance(error, ConnectionRefusedError)
            if deaths > DEATHS:
                raise
            time.sleep(PAUSE_S)
            _ensure_server()
        else:
            return
    process.start()


@cache
def _context() -> Any:
    """Return how processes are started: never forked from this one, whose threads (torch, MLflow) would be missing."""
    if platform.system() != "Linux":  # the libraries of others do not all survive a fork
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(NEEDED_FOR_TRIALS))
    try:
        _ensure_server()
    except OSError:  # its socket has no room in the folder of temporary files, or that folder's name is too long
        return multiprocessing.get_context("spawn")
    return context


def _is_forked(context: Any) -> bool:
    """Return whether processes are forked from a prepared one."""
    return bool(context.get_start_method() == "forkserver")


def _ensure_server() -> None:
    """Start the process that others are forked from, unless it lives."""
    with deaf():  # forks inherit that
        forkserver.ensure_running()


def behave_as_child(name: bytes) -> None:
    """Take a name, end when the parent does, and when memory runs out before it."""
    _take_name(name)
    _die_with_parent()
    _die_before_parent()


def _take_name(name: bytes) -> None:
    """Be distinguishable from the process this one is forked from, whose command line it shares."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NAME, name)


def _die_with_parent() -> None:
    """End when the parent does: the kernel sees to it, since the process this one is forked from ends with the parent.

    Where it cannot, this process notices by itself, or by the broken pipe.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    live_with_parent()


def _die_before_parent() -> None:
    """Let the kernel, when memory runs out, kill this process and not the parent, which can go on without it."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


def live_with_parent() -> None:
    """Leave Ctrl-C and SIGTERM to the parent, and end when it is gone, which a pool's processes otherwise survive."""
    for name in FOR_THE_PARENT:
        signal.signal(name, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:  # an engine may start its workers as programs; the kernel or a broken pipe ends those
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
