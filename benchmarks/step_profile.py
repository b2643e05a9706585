"""Where the time of a training pass goes: a profile of the trainer, step by step and layer by layer.

    python -m benchmarks.step_profile [--data FOLDER] [--backbones resnet10t resnet18] [--sizes 32 64]

The trainer as it is, under torch's profiler for one pass over the training images. Shares are of that pass; the last
row is what no other names: Python, metrics, schedule, random numbers and the profiler itself.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile

from benchmarks.ceiling import CLASSES, Case, time_trial
from benchmarks.images import gather
from benchmarks.measurements import Measurement, Result, Section
from sweeper.config.dataset import DatasetConfig
from sweeper.data.batches import Batch, DeviceImages
from sweeper.data.prepare import prepare_images
from sweeper.paths import Workspace
from sweeper.training.inputs import TrialData

BACKWARD = "autograd::engine::evaluate_function: "
CONVOLUTION = ("ConvolutionBackward0", "_ByProductBackward")
CPU = torch.device("cpu")


class ProfiledImages(DeviceImages):
    """Images whose first pass is profiled, with whatever is done with its batches."""

    share: dict[str, float]

    def train_batches(self, *args: Any, **kwargs: Any) -> Iterator[Batch]:
        waited = 0.0
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            begun = time.perf_counter()
            batches = super().train_batches(*args, **kwargs)
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                waited += time.perf_counter() - asked
                if batch is None:
                    break
                yield batch
            whole = time.perf_counter() - begun
        found = {**seconds_of(profiler.key_averages()), "cutting, augmenting and normalising batches": waited}
        found["everything else"] = whole - sum(found.values())
        self.share = {name: 100 * seconds / whole for name, seconds in found.items()}


def seconds_of(events: EventList) -> dict[str, float]:
    """Return the seconds of what a step is made of, each event counted once, in the outermost that is named here."""
    total = {event.key: event.cpu_time_total / 1e6 for event in events}
    backward = {key.removeprefix(BACKWARD): value for key, value in total.items() if key.startswith(BACKWARD)}
    convolutions = sum(backward.pop(name, 0.0) for name in CONVOLUTION)
    normalisation = backward.pop("NativeBatchNormBackward0", 0.0)
    return {
        "convolutions, forward": total.get("aten::conv2d", 0.0),
        "convolutions, backward": convolutions,
        "batch normalisation, forward": total.get("aten::batch_norm", 0.0),
        "batch normalisation, backward": normalisation,
        "all other layers, backward": sum(backward.values()),
        "the optimizer's update": sum(value for key, value in total.items() if key.startswith("Optimizer.step")),
    }


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    result: Result | None = None
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder, count = Path(name), options.steps * options.batch_size
            images = gather(options.data, folder / "images", size=size, classes=CLASSES, train=count, val=CLASSES)
            result = result or Result("step_profile", images.about)
            image_set = prepare_images(DatasetConfig(path=str(images.folder.absolute())), size, Workspace(folder))
            for backbone in options.backbones:
                train, val = ProfiledImages(image_set, "train", CPU), DeviceImages(image_set, "val", CPU)
                data, case = TrialData(train, val, image_set.classes), Case(backbone, size, options.batch_size)
                shares: dict[str, list[float]] = {}
                for repeat in range(-1, options.repeats):  # the first one warms up
                    time_trial(case, data, CPU, folder / f"{backbone}-{repeat}", 1, graphs=False)
                    for part, share in train.share.items() if repeat >= 0 else ():
                        shares.setdefault(part, []).append(share)
                title = f"{backbone}, {size} pixels, batch {options.batch_size}, {options.threads} threads"
                result.add(Section(title, [Measurement(part, "%", values) for part, values in shares.items()]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with train/CLASS/; generated images without it")
    parser.add_argument("--backbones", nargs="+", default=["resnet10t", "resnet18"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
