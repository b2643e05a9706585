"""Memory of freed tensors on the CPU: kept for the next layer, and given back when a trial is over."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from sweeper.training.host_allocator import CHOSEN_BY_USER

ON_GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")

LAYERS = """
import resource
import torch
from sweeper.training.device import open_device
from sweeper.training.memory import free_memory

device = open_device("cpu", 0)
def new_pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def forward_pass(passes):
    for _ in range(passes):
        images = torch.ones(16, 3, 224, 224)
        for _ in range(4):
            images = torch.nn.functional.relu(images.repeat(1, 2, 1, 1))  # up to 150 MB
forward_pass(10)
before = new_pages()
forward_pass(5)
again = new_pages() - before
free_memory(device)
with open("/proc/self/statm") as statm:
    kept = int(statm.read().split()[1]) * resource.getpagesize()
print(again, kept)
"""


def pages_and_memory(**variables: str) -> tuple[int, int]:
    """Return how many pages the system had to fill in five passes after ten, and the bytes kept at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(CHOSEN_BY_USER)}
    done = subprocess.run(
        [sys.executable, "-c", LAYERS], env=environment | variables, capture_output=True, text=True, check=True
    )
    pages, kept = map(int, done.stdout.split())
    return pages, kept


@ON_GLIBC
def test_the_memory_of_a_freed_tensor_is_used_again_and_given_back_after_the_trial() -> None:
    pages, kept = pages_and_memory()
    chosen, least = pages_and_memory(MALLOC_MMAP_THRESHOLD_="65536")  # the user's own setting counts
    assert pages < chosen / 10
    assert kept < least + 100e6
