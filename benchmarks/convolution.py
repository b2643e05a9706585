"""A training step with small maps convolved by our arithmetic, beside the same step by the library alone.

    python -m benchmarks.convolution [--networks resnet10t resnet18] [--sizes 32 64]

First whole networks, on random images that lie in memory; then the gradient of the weights alone, by map
size, which shows from where on the library is the faster one.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable

import timm
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.measurements import Measurement, Result, Section, ratios
from sweeper.training.convolution import small_maps, weight_gradient

CPU = torch.device("cpu")
CHANNELS, IMAGES = 256, 128  # of the single convolutions


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    result = Result("convolution", "random images")
    networks = [
        Measurement(
            f"{name} at {size} pixels, batch {batch_size}", "", network(name, size, batch_size, options.repeats)
        )
        for name in options.networks
        for size in options.sizes
        for batch_size in options.batch_sizes
    ]
    note = f"{options.threads} threads, processor with {torch.backends.cpu.get_cpu_capability()}"
    result.add(Section("Time of a step by the library alone / with small maps treated by ours", networks, note))
    maps = [
        Measurement(f"3x3 on {side}x{side} pixels, {CHANNELS} channels", "", gradient(side, options.repeats))
        for side in options.maps
    ]
    result.add(Section("Gradient of the weights: the library / one matrix product", maps, note))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["resnet10t", "resnet18", "resnet50", "tf_efficientnet_lite0"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[64])
    parser.add_argument("--maps", nargs="+", type=int, default=[1, 2, 3, 4, 8])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def network(name: str, size: int, batch_size: int, repeats: int) -> list[float]:
    """Return how many times as long a step takes without, in turns."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).to(memory_format=torch.channels_last).train()
    images = torch.randn(batch_size, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch_size,))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)

    def step(context: contextlib.AbstractContextManager[object]) -> None:
        model.zero_grad(set_to_none=True)
        with context:
            loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return compare(lambda: step(contextlib.nullcontext()), lambda: step(small_maps(CPU)), repeats)


def gradient(side: int, repeats: int) -> list[float]:
    """Return how many times as long the library takes for the gradient of the weights."""

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape).to(memory_format=torch.channels_last)

    images, result = random(IMAGES, CHANNELS, side, side), random(IMAGES, CHANNELS, side, side)
    weight = random(CHANNELS, CHANNELS, 3, 3)
    geometry = (None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, (False, True, False))
    return compare(
        lambda: torch.ops.aten.convolution_backward(result, images, weight, *geometry),
        lambda: weight_gradient(images, result, weight, (1, 1), (1, 1)),
        repeats,
    )


def compare(library: Callable[[], object], ours: Callable[[], object], repeats: int) -> list[float]:
    took: dict[Callable[[], object], list[float]] = {library: [], ours: []}
    for repeat in range(-1, repeats):  # the first one warms up
        for way, seconds in took.items():
            started = time.perf_counter()
            way()
            if repeat >= 0:
                seconds.append(time.perf_counter() - started)
    return ratios(took[library], took[ours])


if __name__ == "__main__":
    main()
