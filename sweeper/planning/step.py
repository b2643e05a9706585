"""One network of a search space for a moment: built, and trained for a few steps on images of noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sweeper.config.hyperparameters import NoTeacherConfig, TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.data.batches import Batch, DeviceImages
from sweeper.data.image_set import ImageSet
from sweeper.data.splitting import Splits
from sweeper.errors import ExportError
from sweeper.modeling.classifier import Classifier
from sweeper.modeling.halves import cut, learning_half
from sweeper.planning.power import Power, PowerMeter
from sweeper.results import TrialSpec
from sweeper.training.compiling import PLAIN, Compiling
from sweeper.training.cost import count_parameters
from sweeper.training.device import autocast, peak_memory_mb, reset_peak_memory, synchronize
from sweeper.training.features import NOTHING, can_use_features, pixel_changes
from sweeper.training.forward import Forward
from sweeper.training.inputs import TrialData
from sweeper.training.learner import Learner, build_learner
from sweeper.training.memory import free_memory
from sweeper.training.onnx_forward import OnnxForward

TIMED_S = 0.3
"""Steps are made until they have taken this long, or there are MOST_STEPS of them; the first does not count."""

MOST_STEPS = 10
POWER_S = 1.0  # a GPU counts its energy some ten times a second
VALIDATED = 8  # images; nothing is measured of them
FORWARD = 32  # images whose features are computed


Work = Callable[[], None]


class FrozenPart(NamedTuple):
    """What does not learn in a network: images [B, 3, S, S] to features [B, width]."""

    module: nn.Module
    width: int


@dataclass(frozen=True)
class Measured:
    """A network in training on this machine.

    Attributes:
        parameters: What it has learned in the end, frozen ones included.
        peak_mb: Largest memory of the GPU, or of this process on a CPU.
        images_per_s: In training steps, images as they are made for each.
        at_once: Images that go through it at once; fewer than the batch where memory demands it.
        views: Of each training image, where trials learn from stored features of it; `images_per_s` is then the
            rate at which these are computed. 0 where images go through the network in each epoch.
        feature_bytes: Of the output of its backbone, or its frozen stages, for an image.
        learned_per_s: Images in training steps on stored features; None where there are none.
        learned: Parameters of what learns on stored features, where that is more than a head.
        power: That its steps draw, or the forward passes of its frozen backbone.
    """

    backbone: str
    image_size: int
    batch_size: int
    trainable: str
    parameters: int
    peak_mb: float
    images_per_s: float
    at_once: int
    views: int
    feature_bytes: int
    power: Power
    learned_per_s: float | None = None
    learned: int = 0


@dataclass(frozen=True)
class NoiseFeatures:
    """The one batch of a training on features, for what learns on them."""

    network: nn.Module
    batch: Batch
    config: TrialConfig
    prepared_s: float = 0.0

    def training_size(self, epoch: int) -> int:  # noqa: ARG002
        return self.config.image_size

    def train(self, epoch: int) -> Iterator[Batch]:  # noqa: ARG002
        yield self.batch

    def val(self) -> Iterator[Batch]:
        yield self.batch


def measure(config: TrialConfig, sweep: SweepConfig, classes: int, device: torch.device) -> Measured:
    """Train a network with new weights for a few steps. Raises ModelError, DoesNotFit, RuntimeError."""
    learner, data = built(config, sweep, classes, device)
    reset_peak_memory(device)
    learned, learned_per_s, width = 0, None, 0
    try:
        views = views_of(config, sweep)
        if not views:
            work, images = _steps(learner, device, sweep.budget.epochs)
            rate = images * _times_a_second(work, device, most=MOST_STEPS)
        else:
            frozen = _frozen(learner, config)
            work, images = _features(frozen, config, device)
            rate, width = images * _times_a_second(work, device, most=1), frozen.width
            learner = _on_noise(learner, frozen, config, device)
            learned = count_parameters(learner.inputs.network) if config.trainable != "head" else 0
            step, images = _steps(learner, device, sweep.budget.epochs)
            learned_per_s = images * _times_a_second(step, device, most=MOST_STEPS)
            work = work if config.trainable == "head" else step
        return Measured(
            backbone=config.backbone,
            image_size=config.image_size,
            batch_size=config.batch_size,
            trainable=config.trainable,
            parameters=count_parameters(learner.model),
            peak_mb=peak_memory_mb(device),
            images_per_s=rate,
            at_once=learner.micro_batches.size(config.batch_size),
            views=views,
            feature_bytes=4 * width,
            power=_power(work, device),
            learned_per_s=learned_per_s,
            learned=learned,
        )
    finally:
        learner.close()
        del learner, data
        free_memory(device)


def built(config: TrialConfig, sweep: SweepConfig, classes: int, device: torch.device) -> tuple[Learner, TrialData]:
    """Build network, optimizer and schedule as a trial does, but without weights or a teacher. Raises ModelError."""
    data = noise(config, classes, device)
    bare = config.model_copy(update={"pretrained": False, "teacher": NoTeacherConfig(name="none")})
    spec = TrialSpec(number=0, seed=0, epochs=sweep.budget.epochs, config=bare, task=sweep.task)
    return build_learner(spec, data, device, graphs=False), data


def noise(config: TrialConfig, classes: int, device: torch.device) -> TrialData:
    """Return a batch of training images without meaning, and a few for validation."""
    count, side = config.batch_size, config.image_size
    drawn = np.random.default_rng(0)
    images = drawn.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    names = tuple(str(number) for number in range(classes))
    rows = np.arange(count, dtype=np.int64)
    splits: Splits = {"train": rows, "val": rows[:VALIDATED]}
    image_set = ImageSet(images, rows % classes, names, splits, digest="", titles=names)
    train, val = (DeviceImages(image_set, split, device) for split in ("train", "val"))
    return TrialData(train, val, names)


def views_of(config: TrialConfig, sweep: SweepConfig) -> int:
    """Return of how many views of an image features are kept; 0 where there are none."""
    if not can_use_features(config, sweep.features):
        return 0
    return 1 if pixel_changes(config.augment) == NOTHING else sweep.features.views


def _frozen(learner: Learner, config: TrialConfig) -> FrozenPart:
    """Return the backbone under a head, or its stages but the last. Raises ModelError."""
    if config.trainable == "head":
        return FrozenPart(learner.model.backbone, _width(learner))
    halves = cut(learner.model.backbone, config.image_size)
    return FrozenPart(halves.frozen, halves.width)


def _features(frozen: FrozenPart, config: TrialConfig, device: torch.device) -> tuple[Work, int]:
    """Return what computes features, and of how many images: on a CPU by ONNX Runtime, where the network exports."""
    backbone, side = frozen.module.eval(), config.image_size
    images = torch.randn(FORWARD, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    forward: Callable[[Tensor], Tensor] = OnnxForward(backbone, side) if device.type == "cpu" else backbone

    def compute() -> None:
        with torch.inference_mode(), autocast(device):
            forward(images)

    try:
        compute()
    except ExportError:
        forward = backbone
    return compute, FORWARD


def _on_noise(learner: Learner, frozen: FrozenPart, config: TrialConfig, device: torch.device) -> Learner:
    """Return a learner of the head, or of the last stage and the head, on features without meaning."""
    if not isinstance(learner.model, Classifier):
        raise TypeError("only classifiers have a head to be trained on features")
    whole = learner.model
    network = whole.head if config.trainable == "head" else learning_half(whole, config.image_size)
    features = torch.randn(config.batch_size, frozen.width, device=device)
    labels = torch.zeros(config.batch_size, dtype=torch.int64, device=device)
    compiling = Compiling(Forward(network, device), PLAIN, config.batch_size)
    return replace(learner, inputs=NoiseFeatures(network, Batch(features, labels), config), compiling=compiling)


def _steps(learner: Learner, device: torch.device, last: int) -> tuple[Work, int]:
    """Return what makes a step as in the last epoch, when all learns from whole images, and of how many images."""
    learner.before_epoch(last)
    steps = learner.steps(device)
    learner.schedule.before_step(0)

    def step() -> None:
        for batch in learner.inputs.train(last):
            steps(batch)

    [batch] = learner.inputs.train(last)
    return step, len(batch.labels)


def _times_a_second(work: Work, device: torch.device, most: int) -> float:
    """Time work, after once that does not count."""
    work()
    _seconds_since(0.0, device)
    started, made = time.perf_counter(), 0
    while not made or (made < most and _seconds_since(started, device) < TIMED_S):
        work()
        made += 1
    return made / _seconds_since(started, device)


def _power(work: Work, device: torch.device) -> Power:
    """Measure the power of work, where that can be done, for as long as the counters take to tell it."""
    meter, started = PowerMeter(device), time.perf_counter()
    while meter.works and _seconds_since(started, device) < POWER_S:
        work()
    return meter.read()


def _width(learner: Learner) -> int:
    """Return how many numbers the backbone gives for an image; 0 where there is no head on it."""
    head = getattr(learner.model, "head", None)
    linear = [module for module in head.modules() if isinstance(module, nn.Linear)] if head is not None else []
    return linear[0].in_features if linear else 0


def _seconds_since(started: float, device: torch.device) -> float:
    synchronize(device)
    return time.perf_counter() - started
