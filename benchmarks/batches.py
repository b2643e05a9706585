"""How many augmented images a second: our batches beside ImageFolder with a DataLoader.

    python benchmarks/batches.py FOLDER [--image-size 64] [--batch-size 128] [--json FILE]

FOLDER holds a class folder for each class, such as tiny-imagenet-200/train. Both sides crop (4
pixels of reflected border), flip and normalise. Repeats are interleaved, since machines are noisy;
the table shows medians, the smallest and the largest, and the median of the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from itertools import count, islice, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from sweeper.config.dataset import DatasetConfig
from sweeper.config.hyperparameters import AugmentConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.prepare import prepare_images
from sweeper.paths import Workspace

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PADDING = 4
WARM_UP = 8  # batches; those that loader processes have waiting at the start are among them


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    with TemporaryDirectory() as folder:
        rates = measure(our_epochs(options, Workspace(Path(folder))), peer_epochs(options), options)
    Console().print(table(rates, options))
    if options.json:
        options.json.write_text(json.dumps(summary(rates, options), indent=2) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2, help="torch threads of our side")
    parser.add_argument("--workers", type=int, default=2, help="loader processes of the peer")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each repeat is timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def our_epochs(options: argparse.Namespace, workspace: Workspace) -> Callable[[], Iterable[object]]:
    dataset = DatasetConfig(path=str(options.folder.absolute()), layout="folder", val_fraction=0.01)
    images = DeviceImages(prepare_images(dataset, options.image_size, workspace), "train", "cpu")
    augment = AugmentConfig(crop_padding=PADDING, flip=True)
    epochs = count()
    return lambda: images.train_batches(
        options.batch_size, augment, options.image_size, MEAN, STD, seed=0, epoch=next(epochs)
    )


def peer_epochs(options: argparse.Namespace) -> Callable[[], Iterable[object]]:
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize((options.image_size, options.image_size)),
            v2.RandomCrop(options.image_size, padding=PADDING, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    loader = DataLoader(
        ImageFolder(options.folder, transform),
        batch_size=options.batch_size,
        shuffle=True,
        num_workers=options.workers,
    )
    return lambda: loader


def measure(
    ours: Callable[[], Iterable[object]], peer: Callable[[], Iterable[object]], options: argparse.Namespace
) -> dict[str, list[float]]:
    """Return images per second of every repeat; the first batches of an epoch start it and do not count."""
    rates: dict[str, list[float]] = {"sweeper": [], "ImageFolder + DataLoader": []}
    for _ in range(options.repeats):
        for (name, found), epoch in zip(rates.items(), (ours, peer), strict=True):
            found.append(rate(epoch(), options.batch_size, options.seconds))
            print(f"{name}: {found[-1]:,.0f} images/s", flush=True)
    return rates


def rate(batches: Iterable[object], batch_size: int, seconds: float) -> float:
    stream = iter(batches)
    for _ in islice(stream, WARM_UP):
        pass
    start = time.perf_counter()
    done = 0
    for _ in takewhile(lambda _: time.perf_counter() < start + seconds, stream):
        done += 1
    return done * batch_size / (time.perf_counter() - start)  # dropping the stream ends the loader's processes


def summary(rates: dict[str, list[float]], options: argparse.Namespace) -> dict[str, object]:
    ours, peer = rates.values()
    return {
        "images_per_s": rates,
        "median": {name: statistics.median(found) for name, found in rates.items()},
        "median_ratio": statistics.median(left / right for left, right in zip(ours, peer, strict=True)),
        "options": {name: str(value) for name, value in vars(options).items()},
        "torch": torch.__version__,
    }


def table(rates: dict[str, list[float]], options: argparse.Namespace) -> Table:
    ratio = summary(rates, options)["median_ratio"]
    shown = Table(
        title=f"crop + flip + normalise, {options.image_size} pixels, batch {options.batch_size}: ratio {ratio:.1f}"
    )
    for heading in ("", "images/s (median)", "smallest", "largest"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, found in rates.items():
        shown.add_row(name, *(f"{value:,.0f}" for value in (statistics.median(found), min(found), max(found))))
    return shown


if __name__ == "__main__":
    main()
