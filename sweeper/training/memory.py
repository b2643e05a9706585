"""How running out of memory is recognised, and what is freed then.

What says so by its class is `data/out_of_memory.py`. Torch's CPU allocator raises a plain RuntimeError, and so do
oneDNN, cuBLAS and cuDNN when a buffer of theirs is refused.
Their texts differ and change, so they decide nothing here: whoever sees a RuntimeError tries the same
work in smaller parts, and when even the smallest fails, the allocator itself is asked. It reports
every refusal to torch's profiler, so the step is repeated once under it (`was_refused_memory`).

oneDNN's code generator keeps the error of a refusal for its thread and for good: no new primitive can be
built there. `still_works` finds that out, and the process is then replaced by a new one.
"""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from contextlib import suppress

import torch
from torch.autograd.profiler_util import OUT_OF_MEMORY_EVENT_NAME
from torch.nn import functional

from sweeper.data.out_of_memory import is_memory
from sweeper.errors import DeviceError
from sweeper.training.host_allocator import give_back_freed_memory

_spare: list[weakref.WeakMethod[Callable[[], bool]]] = []
_widths = itertools.count(9)


def may_be_memory(error: BaseException) -> bool:
    """Return whether an error is one of memory, or one by which a library may mean that."""
    return is_memory(error) or type(error) is RuntimeError


def drop_when_short(release: Callable[[], bool]) -> None:
    """Call `release` when this process runs out of memory: it drops what only saves time and returns whether it did.

    It is a method, and its object is not kept alive by it.
    """
    _spare[:] = [one for one in _spare if one() is not None]
    _spare.append(weakref.WeakMethod(release))


def was_refused_memory(step: Callable[[], object]) -> bool:
    """Repeat a step that has failed, and return whether torch's allocator refused it memory.

    Where there is not even room for the profiler and its thread, that answers the question too.
    """
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    try:
        profiler.start()
    except (RuntimeError, MemoryError):
        return True
    try:
        step()
    except Exception as error:
        if not may_be_memory(error):
            raise
    finally:
        profiler.stop()
    return any(event.name == OUT_OF_MEMORY_EVENT_NAME for event in profiler.events() or ())  # type: ignore[no-untyped-call]


def make_room(device: torch.device) -> bool:
    """Drop what is only kept to save time, and give back what nothing refers to; True where anything was dropped."""
    _spare[:] = [method for method in _spare if method() is not None]
    dropped = [release() for release in [method() for method in _spare] if release is not None]
    free_memory(device)
    return any(dropped)


def free_memory(device: torch.device) -> None:
    """Give back what nothing refers to any more, on the host and to the device.

    A broken context refuses that too; `still_works` finds that out.
    """
    gc.collect()
    with suppress(RuntimeError):
        if device.type == "cuda":
            torch.cuda.empty_cache()
        elif device.type == "mps":
            torch.mps.empty_cache()
    give_back_freed_memory()


def still_works(device: torch.device) -> bool:
    """Return whether a tiny network can still be trained in this process.

    After a failed kernel a CUDA context takes no work any more, and a library may keep an error as oneDNN
    does: then only a new process helps.
    """
    try:
        train_a_little(device)
    except (RuntimeError, MemoryError):
        return False
    return True


def require_working(device: torch.device) -> None:
    """Raise DeviceError, with what is known of the cause, where not even a tiny network can be trained."""
    try:
        train_a_little(device)
    except (RuntimeError, MemoryError) as error:
        why = str(error).partition("\n")[0]
        if is_memory(error):
            why = "its memory is full; end the process that holds it, or name another device with `device:`"
        raise DeviceError(f"{device} cannot train: {why}") from error


def train_a_little(device: torch.device) -> None:
    """Make one training step of a tiny network and wait for it.

    The images are of another width each time, since oneDNN keeps the primitives it has.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = torch.ones(2, 3, 9, next(_widths), device=device)
        weights = torch.ones(4, 3, 3, 3, device=device, requires_grad=True)
        functional.conv2d(images, weights).sum().backward()  # type: ignore[no-untyped-call]
        if weights.grad is not None:
            weights.grad.sum().item()
