"""A training step by compiled code beside the same step operation by operation, and what compiling takes.

    python -m benchmarks.compiled [--networks resnet10t resnet18] [--size 32] [--device cuda]

What `compile:` decides by. Each figure comes from a process of its own: the first one of a network compiles it with an
empty cache, as the first trial of a kind does, the second one finds torch's cache filled, as every later trial does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import timm
import torch
from torch.nn import functional

from benchmarks.measurements import Measurement, Result, Section, ratios
from sweeper.training.device import autocast
from sweeper.training.forward import Forward


@dataclass(frozen=True)
class Case:
    """A network and how it is trained."""

    network: str
    size: int
    batch_size: int
    device: str
    threads: int
    repeats: int


@dataclass(frozen=True)
class Steps:
    """Seconds of the first compiled step, which is compiled, and of plain and compiled steps, in turns."""

    compiling_s: float
    plain_s: list[float]
    compiled_s: list[float]


def main() -> None:
    options = arguments()
    result = Result("compiled", "random images")
    for network in options.networks:
        case = Case(network, options.size, options.batch_size, options.device, options.threads, options.repeats)
        with tempfile.TemporaryDirectory() as cache:
            first, second = (apart(case, cache) for _ in range(2))
        rows = [
            Measurement("plain step", "s", second.plain_s),
            Measurement("compiled step", "s", second.compiled_s),
            Measurement("plain against compiled", "", ratios(second.plain_s, second.compiled_s)),
            Measurement("the first step of the first trial of its kind", "s", [first.compiling_s]),
            Measurement("the first step of a later one, in another process", "s", [second.compiling_s]),
        ]
        result.add(Section(f"{network}, {options.size} pixels, batch {options.batch_size}, {options.device}", rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet10t", "resnet18"])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def apart(case: Case, cache: str) -> Steps:
    """Measure in a process of its own, which keeps its compiled code in `cache`."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, case).result()


def measure(case: Case) -> Steps:
    torch.manual_seed(0)
    torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    network = timm.create_model(case.network, num_classes=10).to(device).to(memory_format=torch.channels_last).train()
    images = torch.randn(case.batch_size, 3, case.size, case.size, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (case.batch_size,), device=device)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    plain, compiled = Forward(network, device), Forward(network, device)
    compiled.compile(case.batch_size)

    def step(forward: Forward) -> float:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with autocast(device):
            loss = functional.cross_entropy(forward(images).float(), labels)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        return time.perf_counter() - started

    step(plain)
    compiling_s = step(compiled)
    turns = [(step(plain), step(compiled)) for _ in range(case.repeats)]
    return Steps(compiling_s, [one for one, _ in turns], [other for _, other in turns])


if __name__ == "__main__":
    main()
