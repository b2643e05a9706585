"""Frozen backbones: what they give for the images is computed once, for all epochs and trials.

A backbone that does not learn and stands in evaluation mode is a function of the image alone. What it
makes of every image, in this many augmented views, goes to the feature cache, keyed by all that the
numbers depend on; trials then train their heads on that. Where the last stage learns as well, the stages
before it are such a backbone, and their output is one row of values for an image.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from cachetools import LRUCache
from timm.models import model_entrypoint
from torch import nn

from sweeper.config.hyperparameters import AugmentConfig, TrialConfig
from sweeper.config.sweep import FeaturesConfig
from sweeper.data.augment import augment_version
from sweeper.data.batches import Batch, DeviceImages
from sweeper.data.feature_cache import FeatureCache, FeatureKey, Features
from sweeper.data.features import DeviceFeatures
from sweeper.errors import ExportError
from sweeper.modeling.backbones import Backbone, build_backbone
from sweeper.modeling.classifier import Trainable
from sweeper.modeling.formats import Predict
from sweeper.modeling.halves import cut
from sweeper.results import TrialSpec
from sweeper.training.device import arithmetic, device_name, place
from sweeper.training.evaluate import predictor
from sweeper.training.inputs import TrialData
from sweeper.training.micro_batch import Limits, MicroBatches, recall_limits, remember_limits
from sweeper.training.onnx_forward import ENGINE, FEWEST_FOR_ONNX, OnnxForward

logger = logging.getLogger(__name__)

CHUNK = 256
"""Images that go through the backbone at once, where they fit; not the trial's batch size, since trials share."""

KEPT_BACKBONES = 2
KEPT_SPLITS = 6

NOTHING = AugmentConfig()


@dataclass(frozen=True)
class FrozenBackbone:
    """A backbone that does not learn, or the stages of one that do not, and what its output depends on."""

    backbone: Backbone
    described: dict[str, Any]
    where: str | None = None
    """After which step of its code the backbone is cut, where its last stage learns."""
    onnx: OnnxForward | None = None
    """How a CPU runs it faster."""


class SplitFeatures(NamedTuple):
    """The features of the training and the validation images, and of the mirror images of these where they count."""

    train: DeviceFeatures
    val: DeviceFeatures
    mirror: DeviceFeatures | None


@dataclass(frozen=True)
class FeatureInputs:
    """Features for a head, or a last stage and a head."""

    network: nn.Module
    features: SplitFeatures
    config: TrialConfig
    seed: int
    frozen: FrozenFeatures

    @property
    def prepared_s(self) -> float:
        return self.frozen.computed_s

    def training_size(self, epoch: int) -> int:  # noqa: ARG002  # whose images never grow
        return self.config.image_size

    def train(self, epoch: int) -> Iterator[Batch]:
        config = self.config
        sampling = config.class_balance.sampling
        return self.features.train.train_batches(config.batch_size, config.augment, self.seed, epoch, sampling)

    def val(self) -> Iterator[Batch]:
        return self.features.val.eval_batches(self.config.batch_size, self.features.mirror)


class FrozenFeatures:
    """Gives trials the features of frozen backbones; keeps recent backbones and features between trials.

    Args:
        cache: Where features are kept on disk.
        config: Whether trials use them, and how many views there are.
        device: Where trials run.

    Attributes:
        computed_s: Seconds in which features were computed, or read from the disk.
    """

    def __init__(self, cache: FeatureCache, config: FeaturesConfig, device: torch.device):
        self._cache = cache
        self._config = config
        self._device = device
        self._backbones: LRUCache[str, FrozenBackbone] = LRUCache(KEPT_BACKBONES)
        self._splits: LRUCache[str, tuple[DeviceImages, DeviceFeatures]] = LRUCache(KEPT_SPLITS)
        self.computed_s = 0.0
        self._at_work: Callable[[], None] = _told_to_nobody

    @contextmanager
    def telling(self, at_work: Callable[[], None]) -> Iterator[None]:
        """Call `at_work` now and then while features are computed or waited for, until the block ends."""
        self._at_work = at_work
        try:
            yield
        finally:
            self._at_work = _told_to_nobody

    def drop(self) -> bool:
        """Keep nothing for later trials, and return whether anything was kept; what a trial uses it still holds."""
        kept = bool(self._backbones or self._splits)
        self._backbones.clear()
        self._splits.clear()
        return kept

    def forget(self, data: TrialData) -> None:
        """Keep no features of these images: whatever can still compute some holds them in the device's memory."""
        for name, (images, _) in list(self._splits.items()):
            if images in (data.train, data.val):
                del self._splits[name]

    def serve(self, config: TrialConfig, data: TrialData) -> bool:
        """Return whether a trial learns from features: not from pixels that have no name."""
        return bool(can_use_features(config, self._config) and data.train.pixels and data.val.pixels)

    def backbone(self, config: TrialConfig) -> FrozenBackbone:
        """Return the backbone of a trial, built already where possible. Raises ModelError."""
        key = f"{config.backbone} {config.trainable} {config.image_size} {_weights_file(config.pretrained)}"
        if key not in self._backbones:
            self._backbones[key] = self._build(config)
        return self._backbones[key]

    def _build(self, config: TrialConfig) -> FrozenBackbone:
        # Dropout inside the backbone has no effect where nothing is trained, so that trials of all rates share.
        built = build_backbone(config.backbone, config.pretrained, config.image_size)
        built.module.requires_grad_(False).eval()
        halves = cut(built.module, config.image_size) if config.trainable == "last_stage" else None
        if halves:
            built = built._replace(module=halves.frozen, features=halves.width)
        described = {
            "backbone": config.backbone,
            "code": model_entrypoint(config.backbone).__module__,  # names the content of a model file too
            "weights": weights_digest(built.module),
            "mean": built.mean,
            "std": built.std,
            "image_size": config.image_size,
            "device": device_name(self._device),
            "precision": arithmetic(self._device),
            "versions": [torch.__version__, timm.__version__],
            "chunk": CHUNK,
        }
        described |= {"up_to": halves.where} if halves else {}
        place(built.module, self._device)
        on_cpu = self._device.type == "cpu"
        onnx = OnnxForward(built.module, config.image_size) if on_cpu else None
        return FrozenBackbone(built, described, halves.where if halves else None, onnx)

    def splits(
        self, frozen: FrozenBackbone, data: TrialData, spec: TrialSpec, limits_file: Path | None
    ) -> SplitFeatures:
        """Return the features of both splits; those of validation images are never augmented."""
        limits = recall_limits(limits_file).quartered(CHUNK, 1, spec.memory_kills)
        train = FeatureMaker(frozen, data.train, pixel_changes(spec.config.augment), self._device, limits, limits_file)
        val = FeatureMaker(frozen, data.val, NOTHING, self._device, limits, limits_file)
        mirror = replace(val, mirrored=True) if spec.config.test_time_augmentation == "flip" else None
        return SplitFeatures(self._split(train), self._split(val), self._split(mirror) if mirror else None)

    def _split(self, maker: FeatureMaker) -> DeviceFeatures:
        name = maker.key(0).name
        if name not in self._splits:
            views = 1 if maker.augment == NOTHING else self._config.views
            opened = partial(self._open, maker)
            made = DeviceFeatures(maker.images.labels, opened, views, self._device)
            self._splits[name] = maker.images, made
        return self._splits[name][1]

    def _open(self, maker: FeatureMaker, view: int) -> Features:
        """Return the features of a view, and count the seconds."""
        started = time.perf_counter()
        try:
            return self._computed(maker, view)
        finally:
            self.computed_s += time.perf_counter() - started

    def _computed(self, maker: FeatureMaker, view: int) -> Features:
        """Return the features of a view: those of torch where they are there already or nothing else can give them."""
        key = maker.key(view)
        onnx = maker.frozen.onnx
        if onnx is None or len(maker.images) < FEWEST_FOR_ONNX or self._cache.holds(key):
            return self._cache.open(key, maker.compute, self._at_work)
        try:
            return self._cache.open(maker.key(view, ENGINE), partial(maker.compute_by, onnx), self._at_work)
        except ExportError as error:
            logger.warning("features of %s: %s", maker.frozen.described["backbone"], error)
            return self._cache.open(key, maker.compute, self._at_work)


def _told_to_nobody() -> None:
    """Take a sign of life that nobody waits for."""


@dataclass(frozen=True)
class FeatureMaker:
    """Makes the features of one split."""

    frozen: FrozenBackbone
    images: DeviceImages
    augment: AugmentConfig
    device: torch.device
    limits: Limits
    limits_file: Path | None
    mirrored: bool = False

    def key(self, view: int, engine: str | None = None) -> FeatureKey:
        """Return the name of a view's features; `engine` is what computes them, unless torch does."""
        augment = self.augment.model_dump(mode="json")
        described = {**self.frozen.described, "pixels": self.images.pixels, "augment": augment, "view": view}
        version = augment_version(self.augment)
        described |= {"augment_version": version} if version > 1 else {}  # the first one is in no name
        described |= {"engine": engine} if engine else {}
        described |= {"mirrored": True} if self.mirrored else {}
        return FeatureKey.of(described, len(self.images), self.frozen.backbone.features)

    def compute(self, key: FeatureKey) -> Iterator[Features]:
        """Put every image through the backbone, in parts that fit. Raises DoesNotFit."""
        sizes = MicroBatches(self.device, limits=self.limits)
        yield from self.compute_by(predictor(self.frozen.backbone.module, self.device, sizes), key)
        if self.limits_file is not None:
            remember_limits(self.limits_file, Limits(evaluation=sizes.limits.evaluation))

    def compute_by(self, predict: Predict, key: FeatureKey) -> Iterator[Features]:
        """Put every image through the backbone as `predict` does it."""
        _, _, mean, std = self.frozen.backbone
        size = self.frozen.described["image_size"]
        with torch.inference_mode():
            for chunk in self.images.view_batches(CHUNK, self.augment, size, mean, std, key.seed):
                yield predict(chunk.flip(3) if self.mirrored else chunk).cpu().numpy()


def can_use_features(config: TrialConfig, features: FeaturesConfig) -> bool:
    """Return whether a trial may learn from features.

    Not with CutMix, a teacher or images of several sizes, which need pixels; nor without pretrained weights, since
    random ones are each trial's own.
    """
    frozen = stored(config.trainable, features) and config.pretrained is not False
    pixels = config.progressive_resizing < 1 or config.augment.cutmix or config.teacher.name != "none"
    return frozen and not pixels


def stored(trainable: Trainable, features: FeaturesConfig) -> bool:
    """Return whether the output of what is frozen is stored, where this part of a network learns."""
    return features.cache and (trainable == "head" or (trainable == "last_stage" and features.last_stage))


def pixel_changes(augment: AugmentConfig) -> AugmentConfig:
    """Return the augmentation without mixing, which features go through as well."""
    return augment.model_copy(update={"mixup": 0.0, "cutmix": 0.0})


def weights_digest(module: nn.Module) -> str:
    """Return 32 hexadecimal digits that change with any weight or buffer of a module on the CPU."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _weights_file(pretrained: bool | str) -> str:
    """Name pretrained weights by their file as it is now, so that another one in its place is noticed."""
    if not isinstance(pretrained, str) or not Path(pretrained).exists():
        return str(pretrained)
    status = Path(pretrained).stat()
    return f"{pretrained} {status.st_size} {status.st_mtime_ns}"
