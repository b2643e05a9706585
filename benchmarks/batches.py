"""How many augmented images a second: our batches beside ImageFolder with a DataLoader.

    python -m benchmarks.batches [--data FOLDER] [--size 64] [--batch-size 128]

Both sides crop (4 pixels of reflected border), flip and normalise. The first batches of an epoch
start it and do not count. Repeats are interleaved, since machines are noisy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import count, islice, takewhile
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.images import Images, gather
from benchmarks.measurements import Measurement, Result, Section, ratios
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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = gather(options.data, folder / "images", size=options.size, classes=100, train=options.images, val=100)
        result = Result("batches", images.about)
        ours, peer = measure(our_epochs(options, images, Workspace(folder)), peer_epochs(options, images), options)
        result.add(section(ours, peer, options))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with train/CLASS/; generated images without it")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2, help="torch threads of our side")
    parser.add_argument("--workers", type=int, default=2, help="loader processes of the peer")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each repeat is timed")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def our_epochs(options: argparse.Namespace, images: Images, workspace: Workspace) -> Callable[[], Iterable[object]]:
    dataset = DatasetConfig(path=str(images.folder.absolute()))
    on_device = DeviceImages(prepare_images(dataset, options.size, workspace), "train", "cpu")
    augment = AugmentConfig(crop_padding=PADDING, flip=True)
    epochs = count()
    return lambda: on_device.train_batches(
        options.batch_size, augment, options.size, MEAN, STD, seed=0, epoch=next(epochs)
    )


def peer_epochs(options: argparse.Namespace, images: Images) -> Callable[[], Iterable[object]]:
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize((options.size, options.size)),
            v2.RandomCrop(options.size, padding=PADDING, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    loader = DataLoader(
        ImageFolder(images.train, transform),
        batch_size=options.batch_size,
        shuffle=True,
        num_workers=options.workers,
    )
    return lambda: loader


def measure(
    ours: Callable[[], Iterable[object]], peer: Callable[[], Iterable[object]], options: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Return images per second of every repeat, of both."""
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(options.repeats):
        for found, epoch in zip(rates, (ours, peer), strict=True):
            found.append(rate(epoch(), options.batch_size, options.seconds))
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


def section(ours: list[float], peer: list[float], options: argparse.Namespace) -> Section:
    rows = [
        Measurement("ours", "images/s", ours),
        Measurement(f"ImageFolder and DataLoader with {options.workers} processes", "images/s", peer),
        Measurement("times as fast", "", ratios(ours, peer), at_least=4.0),
    ]
    return Section(f"Crop, flip and normalise at {options.size} pixels, batch {options.batch_size}", rows)


if __name__ == "__main__":
    main()
