"""The choices of a first search space, each with the reason that is written beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sweeper.errors import ModelError
from sweeper.proposal.data import DataFacts
from sweeper.proposal.machine import MachineFacts, Timer
from sweeper.proposal.recipes import IMBALANCED, Recipe

SIDES = (32, 48, 64, 96, 128, 160, 224)
LARGEST_ON_CPU = 96
ON_CPU = ("resnet10t", "resnet18")
ON_GPU = ("resnet18", "resnet34", "efficientnet_b0")
WITH_WEIGHTS = ("convnext_tiny", "vit_small_patch16_224")
"""On a GPU, where their pretrained weights are here: from scratch they need more images than most people have."""
WEIGHTS_HERE = "their weights are in the cache of the model hub on this machine"
NO_WEIGHTS = "no weights of these are in the model hub's cache here"
MOST_BACKBONES = 3
"""Of other weights that are here; the smallest are taken."""
EPOCHS = (30, 20, 15, 10, 5, 3)
FEWEST_TRIALS, MOST_TRIALS = 12, 60
SHARE_TRAINED = 0.5
"""The part of the epochs of all trials that is trained with `promote` (docs/pruning.md)."""
OVERHEAD = 1.3
"""Validation, checkpoints and starts, beside the training steps."""

Speed = Callable[[str, int, int], float]
"""Gives images a second for a backbone, an image size and a batch size."""


Line = tuple[str, str]
"""A line of a search space, and the reason that stands beside it; the reason may be empty."""


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        lines: From the epochs on.
        first: The configurations that come first.
        image_size: Pixels of the images.
        budget_why: How the budget was found.
    """

    lines: Sequence[Line]
    first: Sequence[Recipe]
    image_size: int
    budget_why: str = ""


@dataclass(frozen=True)
class Reasoned:
    """A value as it stands in YAML, and why."""

    value: str
    why: str


def image_size(data: DataFacts, machine: MachineFacts) -> Reasoned:
    """Choose the largest usual size that the images have, and that the device has time for."""
    fitting = [side for side in SIDES if side <= data.side] or [SIDES[0]]
    chosen = fitting[-1] if machine.gpu else min(fitting[-1], LARGEST_ON_CPU)
    if data.side < SIDES[0]:
        return Reasoned(str(chosen), f"the images have {data.side} pixels; smaller than {chosen} suits few networks")
    if chosen < fitting[-1]:
        return Reasoned(str(chosen), f"the images have {data.side} pixels; more than {chosen} is slow on a CPU")
    return Reasoned(str(chosen), f"the largest usual size that images of {data.side} pixels fill")


def backbones(machine: MachineFacts, takes: Callable[[str], bool]) -> tuple[tuple[str, ...], Reasoned]:
    """Choose architectures, and whether they begin with pretrained weights; `takes`: whether one suits the images."""
    known = ON_GPU if machine.gpu else ON_CPU
    wanted = (*ON_GPU, *WITH_WEIGHTS) if machine.gpu else ()
    here = tuple(name for name in machine.weights if name.partition(".")[0] in wanted)
    if here := here or tuple(islice(filter(takes, machine.weights), MOST_BACKBONES)):
        return here, Reasoned("true", WEIGHTS_HERE)
    have = "the networks whose weights are here do not take such images" if machine.weights else NO_WEIGHTS
    return known, Reasoned("false", f"{have}; set true where the internet can be reached: better for photographs")


def takes(timer: Timer, name: str, size: int, batch: int) -> bool:
    """Return whether a network can be trained at an image size: some take one size alone."""
    try:
        return timer.whole(name, size, batch) > 0
    except ModelError:
        return False


def batch_sizes(data: DataFacts) -> tuple[list[int], Reasoned]:
    """Choose sizes with at least eight steps per epoch."""
    fitting = [size for size in (16, 32, 64, 128) if size * 8 <= data.train] or [max(2, data.train // 8)]
    chosen = fitting[-3:]
    return chosen, Reasoned(one_of(chosen), f"{data.train:,} training images: at least eight steps per epoch")


def objective(data: DataFacts) -> Reasoned:
    if data.imbalance >= IMBALANCED:
        why = f"all classes count alike: the largest has {data.imbalance:.0f} times as many images as the smallest"
        return Reasoned("val/f1", why)
    if data.fewest == data.most:
        return Reasoned("val/accuracy", f"every class has {data.most:,} training images")
    return Reasoned("val/accuracy", f"the classes are of much the same size: {data.fewest:,} to {data.most:,} images")


def short_time(hours: float) -> str:
    """Write a time as `budget.for` takes it: 2h, or in minutes below an hour."""
    return f"{hours:g}h" if hours >= 1 else f"{hours * 60:g}m"


def most_padding(size: int) -> int:
    return max(1, size // 8)


def padding(size: int) -> Reasoned:
    return Reasoned(
        f"{{int: [0, {most_padding(size)}]}}", "random crops; the search finds how much cropping still helps"
    )


@dataclass(frozen=True)
class Budget:
    """How many trials of how many epochs fit in the time, and how that was found."""

    trials: int
    epochs: int
    speed: float
    hours: float

    @property
    def why(self) -> str:
        found = f"about {short_time(self.hours)}; the slowest network takes {self.speed:,.0f} images a second here"
        if self.trials >= FEWEST_TRIALS:
            return found
        return f"{found}: few trials; use a GPU, more --hours or dataset.limit.train_images"


def budget(data: DataFacts, names: tuple[str, ...], size: int, batch: int, hours: float, speed: Speed) -> Budget:
    """Choose the longest trials of which at least FEWEST_TRIALS fit in the time, else the shortest ones."""
    slowest = min(speed(name, size, batch) for name in names)
    images = hours * 3600 * slowest / OVERHEAD
    affordable = images / data.train / SHARE_TRAINED  # epochs of all trials together
    epochs = next((epochs for epochs in EPOCHS if affordable / epochs >= FEWEST_TRIALS), EPOCHS[-1])
    trials = max(2, min(MOST_TRIALS, int(affordable / epochs)))
    return Budget(trials, epochs, slowest, hours)


def of_every_network(data: DataFacts) -> Iterator[Line]:
    """Yield what is searched of whatever learns."""
    yield "  weight_decay: {float: [1.0e-5, 1.0e-1], log: true}", "no general value: depends on everything else"
    yield "  label_smoothing: {choice: [0.0, 0.1]}", ""
    if data.imbalance >= IMBALANCED:
        yield "  class_balance: {sampling: {choice: [0.0, 0.5]}}", "draws rare classes more often"


def one_of(options: list[int]) -> str:
    """Write a choice among numbers, or the only one."""
    return f"{{choice: [{', '.join(map(str, options))}]}}" if len(options) > 1 else str(options[0])
