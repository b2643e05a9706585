"""How the C library treats the memory of freed tensors in a process that computes on the CPU.

glibc asks the system for each block of 32 MB and more and gives it back when it is freed. A network on the CPU makes
and frees such blocks in every layer, and each time the system has to fill new pages with zeros: for images of 224
pixels that took most of the time of a forward pass (docs/performance.md). Here such blocks come from the heap, and what
is freed stays there for the next layer.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2
"""Parameters of mallopt(3): blocks that come straight from the system, and bytes that the heap keeps and asks for."""

KEPT = 2**31 - 1
"""Bytes of freed memory at the end of the heap above which it is given back; the largest value that there is."""

ASKED_FOR = 2**26

CHOSEN_BY_USER = ("MALLOC_", "GLIBC_TUNABLES")
"""Environment variables that begin with these set the allocator, and then nothing is changed here."""


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors; return whether its C library could be told so."""
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(CHOSEN_BY_USER) for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*setting) for setting in ((MMAP_MAX, 0), (TRIM_THRESHOLD, KEPT), (TOP_PAD, ASKED_FOR)))


def give_back_freed_memory() -> None:
    """Give the system what the heap has kept, where `keep_freed_memory` has let it keep anything."""
    if keep_freed_memory.cache_info().currsize and keep_freed_memory():
        ctypes.CDLL(None).malloc_trim(0)
