"""Training throughput beside the ceiling: the same step on tensors that lie on the device already.

    python -m benchmarks.ceiling [--data FOLDER] [--backbones resnet10t resnet18] [--sizes 32 64]

The ceiling is forward, loss, backward and update, in a loop, with the same network, optimizer,
memory format and precision. Ours is the trainer on decoded images: cutting batches, crop, flip,
normalising, metrics, schedule and the check for infinite losses. Both start from a new network; of
several epochs the last counts, in which a GPU's libraries have chosen their algorithms and the steps
are recorded. Evaluation and checkpoint are left out of the first ratio and shown apart. On a machine
with other work the ratio of CPU seconds says more than that of the wall clock. On a GPU both are
measured with CUDA graphs and without.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from benchmarks.images import gather, pixels_only
from benchmarks.measurements import Measurement, Result, Section, ratios
from sweeper.config.dataset import DatasetConfig
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import ObjectiveConfig
from sweeper.data.batches import Batch, DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.data.prepare import prepare_images
from sweeper.paths import TrialFolder, Workspace
from sweeper.results import TrialSpec
from sweeper.training.conditions import Conditions
from sweeper.training.device import autocast, open_device
from sweeper.training.inputs import TrialData
from sweeper.training.learner import build_learner
from sweeper.training.trainer import train

CLASSES = 10
VAL_SHARE = 5  # one validation image for this many training images, as in CIFAR-10


@dataclass
class Watch:
    """Seconds of wall clock and of this process's CPU, until a device has done all that it was given."""

    device: torch.device
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __enter__(self) -> Watch:
        wait_for(self.device)
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wait_for(self.device)
        self.wall_s, self.cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu


def wait_for(device: torch.device) -> None:
    """Return when a device has nothing more to do; a CPU never has when it is asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class TimedImages(DeviceImages):
    """Images that know how long each pass over them took, with whatever was done with its batches."""

    passes: list[Watch]

    def train_batches(self, *args: Any, **kwargs: Any) -> Iterator[Batch]:
        with Watch(self.device) as watch:
            yield from super().train_batches(*args, **kwargs)
        self.passes = [*getattr(self, "passes", []), watch]


@dataclass(frozen=True)
class Case:
    """A network, an image size and a batch size."""

    backbone: str
    size: int
    batch_size: int

    def spec(self, epochs: int) -> TrialSpec:
        content = {"backbone": self.backbone, "image_size": self.size, "batch_size": self.batch_size}
        content |= {"augment": {"crop_padding": 4, "flip": True}}
        return TrialSpec(number=0, seed=0, epochs=epochs, config=TrialConfig.model_validate(content))


@dataclass
class Passes:
    """What each repeat took: the ceiling, our training, and a trial with all that belongs to it; with graphs or not."""

    ceiling: list[Watch] = field(default_factory=list)
    training: list[Watch] = field(default_factory=list)
    whole: list[Watch] = field(default_factory=list)


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    device = open_device("auto", 0)
    result: Result | None = None
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            count = options.steps * max(options.batch_sizes)
            val = count // VAL_SHARE // CLASSES * CLASSES or CLASSES
            about, images = images_of(options.data, Path(name), size, count, val)
            result = result or Result(options.name, about)
            for backbone in options.backbones:
                for batch_size in options.batch_sizes:
                    case = Case(backbone, size, batch_size)
                    result.add(section(case, measure(case, images, Path(name), device, options), options, count))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with train/CLASS/; random images without it")
    parser.add_argument("--backbones", nargs="+", default=["resnet10t", "resnet18"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--steps", type=int, default=10, help="in a pass, at the larger batch size")
    parser.add_argument("--epochs", type=int, default=1, help="of each trial; the last one counts")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--name", default="ceiling", help="of the result, to keep one beside another")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def images_of(source: Path | None, folder: Path, size: int, train: int, val: int) -> tuple[str, ImageSet]:
    """Return decoded images and what they are: of a folder, or random ones."""
    if source is None:
        return f"{train:,} + {val:,} random images of {size} pixels", pixels_only(size, CLASSES, train, val)
    images = gather(source, folder / "images", size=size, classes=CLASSES, train=train, val=val)
    dataset = DatasetConfig(path=str(images.folder.absolute()))
    return images.about, prepare_images(dataset, size, Workspace(folder))


def measure(
    case: Case, images: ImageSet, folder: Path, device: torch.device, options: argparse.Namespace
) -> dict[bool, Passes]:
    """Return what was found without CUDA graphs and, on a GPU, with them."""
    train_images, val = TimedImages(images, "train", device), DeviceImages(images, "val", device)
    data = TrialData(train_images, val, images.classes)
    batches = list(batches_of(case, data, device))[:4]
    found = {False: Passes(), True: Passes()} if device.type == "cuda" else {False: Passes()}
    for repeat in range(-1, options.repeats):  # the first one warms up
        for graphs, passes in found.items():
            ceiling = time_ceiling(case, data, batches, device, graphs=graphs)
            trial = folder / f"{case.backbone}-{case.batch_size}-{repeat}-{graphs}"
            whole = time_trial(case, data, device, trial, options.epochs, graphs=graphs)
            if repeat >= 0:
                passes.ceiling.append(ceiling)
                passes.whole.append(whole)
                passes.training.append(train_images.passes[-1])
    return found


def batches_of(case: Case, data: TrialData, device: torch.device) -> Iterator[Batch]:
    spec = case.spec(1)
    config, model = spec.config, build_learner(spec, data, device).model
    yield from data.train.train_batches(
        config.batch_size, config.augment, config.image_size, model.mean, model.std, seed=0, epoch=1
    )


def time_ceiling(case: Case, data: TrialData, batches: list[Batch], device: torch.device, *, graphs: bool) -> Watch:
    learner = build_learner(case.spec(1), data, device)
    model, optimizer = learner.model.train(), learner.optimizer

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device):
            loss = functional.cross_entropy(model(batch.inputs).float(), batch.labels)
        loss.backward()
        optimizer.step()

    if graphs:
        for batch in batches:
            step(batch)
        for group in optimizer.param_groups:
            group["capturable"] = True
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(batches[0])
    with Watch(device) as watch:
        for number in range(data.train.steps(case.batch_size)):
            graph.replay() if graphs else step(batches[number % len(batches)])
    return watch


def time_trial(case: Case, data: TrialData, device: torch.device, folder: Path, epochs: int, *, graphs: bool) -> Watch:
    conditions = Conditions(data, ObjectiveConfig(), None, device, graphs=graphs)
    with Watch(device) as watch:
        train(case.spec(epochs), TrialFolder(folder / "trial-0000"), conditions, lambda _: False)
    return watch


def section(case: Case, found: dict[bool, Passes], options: argparse.Namespace, count: int) -> Section:
    rows = [
        row for graphs, passes in found.items() for row in rows_of(passes, graphs=graphs, count=count, options=options)
    ]
    if len(found) > 1:
        gain = ratios([one.wall_s for one in found[False].training], [one.wall_s for one in found[True].training])
        rows.append(Measurement("ours: CUDA graphs against none", "", gain))
        true_ceiling = ratios(
            [one.wall_s for one in found[False].ceiling], [one.wall_s for one in found[True].training]
        )
        rows.append(Measurement("ours with CUDA graphs against the plain ceiling", "", true_ceiling, at_least=0.95))
    title = f"{case.backbone}, {case.size} pixels, batch {case.batch_size}, {options.threads} threads"
    return Section(title, rows)


def rows_of(found: Passes, *, graphs: bool, count: int, options: argparse.Namespace) -> list[Measurement]:
    def throughput(passes: list[Watch], epochs: int = 1) -> list[float]:
        return [epochs * count / watch.wall_s for watch in passes]

    wall = ratios([one.wall_s for one in found.ceiling], [one.wall_s for one in found.training])
    cpu = ratios([one.cpu_s for one in found.ceiling], [one.cpu_s for one in found.training])
    whole = ratios(throughput(found.whole, options.epochs), throughput(found.ceiling))
    how = " with CUDA graphs" if graphs else ""
    return [
        Measurement(f"ceiling{how}", "images/s", throughput(found.ceiling)),
        Measurement(f"ours{how}", "images/s", throughput(found.training)),
        Measurement(f"ours{how} against the ceiling{how}, wall clock", "", wall, at_least=0.95),
        *([] if graphs else [Measurement("the same in CPU seconds", "", cpu, at_least=0.95)]),
        Measurement(f"a trial{how} with building the network, evaluation and checkpoint, wall clock", "", whole),
    ]


if __name__ == "__main__":
    main()
