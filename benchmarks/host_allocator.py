"""Networks on the CPU whose freed memory is kept for the next layer, beside the same with the C library's own ways.

    python -m benchmarks.host_allocator [--rounds 5]

Each round has two processes for each case, one after the other; what counts is the ratio of their times.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import timm
import torch
from torch.nn import functional

from benchmarks.measurements import Measurement, Result, Section
from benchmarks.program import environment
from sweeper.training.device import peak_memory_mb, place
from sweeper.training.host_allocator import keep_freed_memory

CPU = torch.device("cpu")
SETTLED, TIMED = 3, 5
"""How many passes come before the measurement, and how many are timed; the fastest counts."""


class Case(NamedTuple):
    network: str
    size: int
    batch_size: int
    training: bool

    def __str__(self) -> str:
        what = "training step" if self.training else "forward pass"
        return f"{what}, {self.network} at {self.size} pixels, batch {self.batch_size}"


CASES = [
    Case("tf_efficientnet_lite0", 224, 128, training=False),
    Case("tf_efficientnet_lite0", 224, 16, training=False),
    Case("resnet18", 224, 64, training=False),
    Case("convnext_atto", 224, 64, training=False),
    Case("tf_efficientnet_lite0", 64, 64, training=False),
    Case("tf_efficientnet_lite0", 224, 16, training=True),
    Case("resnet18", 224, 16, training=True),
    Case("tf_efficientnet_lite0", 64, 32, training=True),
    Case("resnet10t", 32, 64, training=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)  # a process of a round: case and whether kept
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measured(Case(*options.one[0]), kept=options.one[1])))
        return
    speeds, peaks = [], []
    for case in CASES:
        pairs = [(in_process(case, kept=False), in_process(case, kept=True)) for _ in range(options.rounds)]
        speeds.append(Measurement(str(case), "", [plain[0] / kept[0] for plain, kept in pairs]))
        peaks.append(Measurement(str(case), "", [kept[1] / plain[1] for plain, kept in pairs]))
    result = Result("host_allocator", "random images")
    result.add(Section("Time with the C library's own ways / with freed memory kept", speeds))
    result.add(Section("Peak memory of the process with freed memory kept / with the C library's own ways", peaks))


def in_process(case: Case, *, kept: bool) -> tuple[float, float]:
    asked = [sys.executable, "-m", "benchmarks.host_allocator", "--one", json.dumps([case, kept])]
    done = subprocess.run(asked, env=environment(), capture_output=True, text=True, check=True)
    seconds, peak_mb = json.loads(done.stdout)
    return seconds, peak_mb


def measured(case: Case, *, kept: bool) -> tuple[float, float]:
    """Return the seconds of a pass in this process, and its peak of memory in MB."""
    if kept and not keep_freed_memory():
        raise SystemExit("this C library cannot be told to keep freed memory")
    work = training_step(case) if case.training else forward_pass(case)
    for _ in range(SETTLED):
        work()
    return min(timed(work) for _ in range(TIMED)), peak_memory_mb(CPU)


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def forward_pass(case: Case) -> Callable[[], object]:
    network, images = made(case)
    network.eval()

    @torch.inference_mode()
    def work() -> torch.Tensor:
        outputs: torch.Tensor = network(images)
        return outputs

    return work


def training_step(case: Case) -> Callable[[], object]:
    network, images = made(case)
    optimizer, labels = torch.optim.AdamW(network.parameters()), torch.zeros(case.batch_size, dtype=torch.long)

    def work() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return work


def made(case: Case) -> tuple[torch.nn.Module, torch.Tensor]:
    network: torch.nn.Module = timm.create_model(case.network, num_classes=100)
    images = torch.randn(case.batch_size, 3, case.size, case.size)
    return place(network, CPU), images.contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
