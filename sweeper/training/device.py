"""The device a trial runs on, and what is set on it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from torch import nn

from sweeper.allowance import available_bytes
from sweeper.config.sweep import DEVICE, Arithmetic, Precision
from sweeper.errors import DeviceError
from sweeper.processor import computes_bfloat16
from sweeper.training.host_allocator import keep_freed_memory

logger = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

CUDA_PROCESS_MB = 600.0  # an allowance for the CUDA context and the libraries' workspaces

TAKING_TURNS = 3
"""Trials at once that keep a GPU busy when their kernels take turns; more were slower (docs/performance.md)."""


class _Wanted:
    """The precision that this process was asked for when it opened its device."""

    precision: Precision = "auto"


def open_device(wanted: str, slot: int, precision: Precision = "auto") -> torch.device:
    """Return the device of a worker, by now this thread's current one; `auto` and `cuda` spread slots over all GPUs.

    Whatever torch does on the current device (pinned memory, random numbers, checks of optimizers) would otherwise
    open a context of about 500 MB on the first GPU. From now on this process computes in that precision. Raises
    DeviceError when the device is not there.
    """
    device = _device_of(wanted, slot)
    make_current(device)
    _Wanted.precision = precision
    if precision == "bfloat16" and _computes_bfloat16(device) is False:
        slow = "%s has no instructions for bfloat16 and emulates it slowly; use precision: auto in a new study"
        logger.warning(slow, device_name(device))
    if device.type == "cpu":
        keep_freed_memory()
    return device


@contextmanager
def borrowed_device(wanted: str) -> Iterator[torch.device]:
    """Work on a device within the program of somebody else, whose current GPU comes back. Raises DeviceError."""
    with current_gpu_kept():
        yield open_device(wanted, 0)


@contextmanager
def current_gpu_kept() -> Iterator[None]:
    """Let this thread's current GPU, and the precision, be those that they were, when the block ends."""
    before = torch.cuda.current_device() if _has_begun() else 0
    try:
        with computing_in(_Wanted.precision):
            yield
    finally:
        if _has_begun():
            torch.cuda.set_device(before)


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Let networks compute in another precision for a while."""
    before, _Wanted.precision = _Wanted.precision, precision
    try:
        yield
    finally:
        _Wanted.precision = before


def _has_begun() -> bool:
    """Return whether this process has opened a GPU."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def device_of_study(named: str, precision: Precision) -> torch.device:
    """Return the device that a study names, where this machine has it; else, which is said, what `auto` stands for.

    From now on this process computes in the precision of the study.
    """
    try:
        return open_device(named, 0, precision)
    except DeviceError:
        found = open_device("auto", 0, precision)
        logger.warning("this machine does not have the device of the study, %s: %s is used here", named, found)
        return found


def make_current(device: torch.device) -> None:
    """Let this thread work on a GPU; the current device is each thread's own."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def _device_of(wanted: str, slot: int) -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted in ("auto", "cuda") and gpus:
        return torch.device("cuda", slot % gpus)
    if wanted == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(DEVICE, wanted):
        raise DeviceError(f"unknown device {wanted}; use auto, cpu, cuda, cuda:1 or mps")
    if wanted.startswith("cuda") and int(wanted.partition(":")[2] or 0) >= gpus:
        raise DeviceError(f"device {wanted} was asked for and torch sees {gpus} CUDA devices; use auto or cpu")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps was asked for and torch sees none; use auto or cpu")
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """Return the kind of device, of a GPU its model: what arithmetic and memory depend on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def kind_of(device: torch.device) -> str:
    """Return the kind of device, with the precision if one was asked for: memory and times depend on both."""
    asked = _Wanted.precision
    return device_name(device) if asked == "auto" else f"{device_name(device)} {asked}"


def described(device: torch.device) -> str:
    """Return the device with its model and what of its memory is free, for people."""
    if device.type != "cuda":
        return device.type
    free, total = torch.cuda.mem_get_info(device)
    shared = ", shared through MPS" if mps_runs() else ""
    return f"{device} ({device_name(device)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free{shared})"


def mps_runs() -> bool:
    """Return whether NVIDIA's Multi-Process Service runs: kernels of several processes then run at the same time."""
    folder = os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps"  # noqa: S108 (NVIDIA's own default)
    return Path(folder, "control").exists()


def useful_at_once(device: torch.device) -> int | None:
    """Return how many trials at once a device gains from at most; None where memory alone limits them."""
    takes_turns = device.type == "cuda" and not torch.version.hip and not mps_runs()
    return TAKING_TURNS if takes_turns else None


def devices_like(wanted: str) -> int:
    """Return over how many devices `open_device` spreads the slots."""
    return max(1, torch.cuda.device_count()) if wanted in ("auto", "cuda") and torch.cuda.is_available() else 1


def free_memory_mb(device: torch.device) -> float:
    """Return the memory in MB that a device, or for the CPU the machine, can still give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    return available_bytes() / 2**20


def process_memory_mb(device: torch.device) -> float:
    """Return what a process takes on a device beside its tensors, in MB; on the CPU the peak has all of it."""
    return CUDA_PROCESS_MB if device.type == "cuda" else 0.0


def arithmetic(device: torch.device) -> Arithmetic:
    """Return the precision that this process was asked for; else bfloat16 on GPUs that compute it, float32 elsewhere.

    On a CPU bfloat16 is never chosen unasked: results would depend on the processor.
    """
    if _Wanted.precision != "auto":
        return _Wanted.precision
    return "bfloat16" if device.type == "cuda" and _computes_bfloat16(device) else "float32"


@lru_cache
def _computes_bfloat16(device: torch.device) -> bool | None:
    """Return whether a device has instructions for bfloat16: GPUs from compute capability 8 on, some processors.

    Older GPUs (V100, T4) only emulate it. None where that is not known.
    """
    if device.type == "cuda":
        return bool(torch.version.hip) or torch.cuda.get_device_properties(device).major >= 8
    return computes_bfloat16() if device.type == "cpu" else None


def autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Let the operations of a model run in the precision of the device."""
    if arithmetic(device) == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def place(network: Network, device: torch.device) -> Network:
    """Move a network to a device, its weights in the memory format in which convolutions are fastest."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def synchronize(device: torch.device) -> None:
    """Wait for all that a device was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak for `peak_memory_mb`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # Writing 5 makes Linux forget the peak of the resident set; elsewhere there is none to reset.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device, *, recorded: bool = False) -> float:
    """Return the largest memory in MB since the reset: of the GPU, else of this process.

    `recorded`: steps are CUDA graphs, whose memory is held for them and not counted as allocated.
    """
    if device.type == "cuda":
        most = torch.cuda.max_memory_reserved if recorded else torch.cuda.max_memory_allocated
        return most(device) / 2**20
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) / 1024
    return float(psutil.Process().memory_info().rss / 2**20)
