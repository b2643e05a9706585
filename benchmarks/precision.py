"""A training step in bfloat16 beside the same step in float32 on a CPU, and what networks are worth that it trained.

    python -m benchmarks.precision [--networks resnet10t resnet18]
    python -m benchmarks.precision --data cifar10 [--seeds 5] [--epochs 10]

`precision: bfloat16` is meant for processors with instructions for it. First whole networks, on random images that lie
in memory; then convolutions of the kinds that `training/convolution.py` keeps in float32, beside others. With --data
also whole trials: the validation accuracy of the same configurations and seeds in both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torch.nn import functional

from benchmarks.images import gather
from benchmarks.measurements import Measurement, Result, Section, ratios
from benchmarks.program import run_sweep
from benchmarks.time_to_quality import ask
from sweeper.config.sweep import Arithmetic
from sweeper.processor import computes_bfloat16
from sweeper.training.device import autocast, computing_in, open_device, place
from sweeper.training.forward import Forward

NETWORKS = {
    "resnet10t": (32, 128),
    "resnet18": (64, 64),
    "tf_efficientnet_lite0": (64, 64),
    "mobilenetv3_small_100": (224, 16),
    "convnext_atto": (224, 16),
    "vit_tiny_patch16_224": (224, 16),
    "regnety_002": (64, 64),
}
"""Networks of different kinds, each with the side of its images in pixels and its batch size."""

CONVOLUTIONS = {
    "3x3, 64 channels of 32x32": (64, 64, 1, 3, 1, 32),
    "3x3 depthwise, 96 channels of 32x32": (64, 96, 96, 3, 1, 32),
    "3x3 depthwise with stride 2, 96 channels of 32x32": (64, 96, 96, 3, 2, 32),
    "5x5 depthwise, 144 channels of 16x16": (64, 144, 144, 5, 1, 16),
    "5x5 depthwise with stride 2, 672 channels of 14x14": (64, 672, 672, 5, 2, 14),
    "3x3 in groups of 16 channels, 128 of 16x16": (64, 128, 8, 3, 1, 16),
}
"""Images, channels, groups, side of the kernel, stride, side of the map."""

PRECISIONS: tuple[Arithmetic, Arithmetic] = ("float32", "bfloat16")


def main() -> None:
    options = arguments()
    cpu = open_device("cpu", 0)
    about = "random images"
    with tempfile.TemporaryDirectory() as name:
        if options.data:
            sizes = {"size": 32, "classes": 10, "train": options.train, "val": options.val}
            images = gather(options.data, Path(name) / "images", **sizes)
            about = f"random images; for trials {images.about}"
        result = Result("precision", about)
        native = "with" if computes_bfloat16() else "without"
        note = f"{torch.get_num_threads()} threads, a processor {native} instructions for bfloat16"
        steps = [
            Measurement(f"{network} at {side} pixels, batch {batch}", "", network_ratios(network, side, batch, cpu))
            for network, (side, batch) in NETWORKS.items()
            if network in options.networks
        ]
        result.add(Section("A training step in float32 / in bfloat16", steps, note))
        kinds = [Measurement(kind, "", convolution_ratios(*shape)) for kind, shape in CONVOLUTIONS.items()]
        title = "A convolution by the library, forward and backward: in float32 / in bfloat16"
        result.add(Section(title, kinds, "below 1 it is kept in float32"))
        if options.data:
            result.add(trials(Path(name), images.folder, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--data", type=Path, help="a folder with train/CLASS/, for whole trials")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--val", type=int, default=5000)
    return parser.parse_args()


def network_ratios(name: str, side: int, batch_size: int, device: torch.device, rounds: int = 9) -> list[float]:
    torch.manual_seed(0)
    network = place(timm.create_model(name, num_classes=10), device).train()
    forward, optimizer = Forward(network, device), torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    images = torch.randn(batch_size, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch_size,))

    def step(precision: Arithmetic) -> float:
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with computing_in(precision), autocast(device):
            loss = functional.cross_entropy(forward(images).float(), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        return time.perf_counter() - started

    turns = [[step(precision) for precision in PRECISIONS] for _ in range(rounds + 2)][2:]
    return ratios([one for one, _ in turns], [other for _, other in turns])


def convolution_ratios(
    images: int, channels: int, groups: int, kernel: int, stride: int, side: int, rounds: int = 9
) -> list[float]:
    shapes = (images, channels, side, side), (channels, channels // groups, kernel, kernel)
    maps, weights = (torch.randn(shape).to(memory_format=torch.channels_last) for shape in shapes)
    maps = maps.bfloat16()  # as the layer before leaves them

    def once(precision: Arithmetic) -> float:
        kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
        begin, kernels = maps.detach().requires_grad_(), weights.detach().requires_grad_()
        started = time.perf_counter()
        made = torch.conv2d(begin.to(kind), kernels.to(kind), None, stride, kernel // 2, 1, groups).bfloat16()
        torch.autograd.backward(made, torch.ones_like(made))
        return time.perf_counter() - started

    turns = [[once(precision) for precision in PRECISIONS] for _ in range(rounds + 2)][2:]
    return ratios([one for one, _ in turns], [other for _, other in turns])


def trials(home: Path, images: Path, options: argparse.Namespace) -> Section:
    """Train one configuration with several seeds in both precisions, by the program."""
    values: dict[Arithmetic, list[float]] = {precision: [] for precision in PRECISIONS}
    seconds: dict[Arithmetic, list[float]] = {precision: [] for precision in PRECISIONS}
    for seed in range(options.seeds):
        for precision in PRECISIONS:
            folder = home / f"{precision}-{seed}"
            folder.mkdir()
            run_sweep(folder, space(images, precision, seed, options.epochs), None, "--no-report")
            (trial,) = ask(folder, "status", "sweep")["trials"]
            values[precision].append(100 * trial["value"])
            seconds[precision].append(trial["seconds"])
    rows = [Measurement(f"best validation accuracy in {name}", "%", found) for name, found in values.items()]
    rows.append(Measurement("bfloat16 less float32, pairs of a seed", "points", differences(*values.values())))
    rows.append(Measurement("time of a trial, float32 / bfloat16", "", ratios(*seconds.values())))
    return Section(f"resnet10t from scratch, {options.epochs} epochs", rows)


def differences(float32: Sequence[float], bfloat16: Sequence[float]) -> list[float]:
    return [other - one for one, other in zip(float32, bfloat16, strict=True)]


def space(images: Path, precision: Arithmetic, seed: int, epochs: int) -> dict[str, object]:
    return {
        "study": "sweep",
        "dataset": {"path": str(images)},
        "objective": {"metric": "val/accuracy"},
        "budget": {"trials": 1, "epochs": epochs},
        "device": "cpu",
        "precision": precision,
        "seed": seed,
        "search": {
            "backbone": "resnet10t",
            "image_size": 32,
            "batch_size": 128,
            "optimizer": {"name": "adamw", "lr": 0.002},
            "scheduler": "cosine",
            "augment": {"crop_padding": 4, "flip": True},
        },
    }


if __name__ == "__main__":
    main()
