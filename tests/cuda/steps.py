"""Run on the stand-in: passes of the real trainer over each kind of training, with what they ask of the GPU as JSON.

    python -m tests.cuda.steps NAME...

For each case: the operators a step sends to the GPU, where the host waited in training, and how often in the rest of
an epoch. A case that is a number is that many heads trained at once; `branches` are all alternatives of the search
space, and whether they train is shown.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

import tests.cuda.stand_in.without_kernels  # noqa: F401
from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import FeaturesConfig, ObjectiveConfig
from sweeper.config.task import CLASSIFICATION, ReconstructionConfig
from sweeper.data.batches import DeviceImages
from sweeper.data.feature_cache import FeatureCache
from sweeper.data.image_set import ImageSet
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.registry import load_model_files
from sweeper.paths import TrialFolder
from sweeper.results import Teacher, TrialSpec
from sweeper.training import trainer
from sweeper.training.epoch_writer import EpochWriter
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.learner import build_learner
from sweeper.training.progress import Progress
from sweeper.training.stack import fused
from sweeper.training.stack.fused import Member, Together
from tests.cuda.waiting import never_waits

GPU = torch.device("cuda", 0)
SIDE, CLASSES, TRAIN, VAL, BATCH = 32, 10, 300, 100, 64
MODELS = Path(__file__).parents[2] / "models"
NO_WORK = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "resize_",
    "_unsafe_view",
    "_reshape_alias",
    "lift_fresh",
}
NO_WORK |= {"detach", "alias", "is_same_size", "is_pinned", "_pin_memory"}
FLIP = {"crop_padding": 4, "flip": True}
EVERYTHING = {"flip": True, "random_resized_crop": 0.5, "rotation": 10, "color_jitter": 0.2, "erasing": 0.25}
EVERYTHING |= {"vertical_flip": True, "blur": 0.5}


@dataclass
class Asked:
    """What a case asked of the GPU."""

    operators: float = 0.0
    waits: list[str] = field(default_factory=list)
    waits_an_epoch: int = 0


@dataclass(frozen=True)
class Case:
    """A trial, and how its images lie: `size` is that of the stored ones."""

    config: dict[str, Any]
    resident: bool = True
    size: int = SIDE
    task: Any = CLASSIFICATION
    teacher: str | None = None
    on_features: bool = False

    @property
    def spec(self) -> TrialSpec:
        content = {"backbone": "resnet10t", "image_size": SIDE, "batch_size": BATCH, "augment": FLIP, **self.config}
        content |= {"pretrained": weights_of("resnet10t")} if self.on_features else {}
        config = TrialConfig.model_validate(content)
        return TrialSpec(number=0, seed=0, epochs=2, config=config, task=self.task, teacher=teacher_of(self.teacher))

    def data(self) -> TrialData:
        count = TRAIN + VAL
        images = ImageSet(
            images=np.zeros((count, self.size, self.size, 3), np.uint8),
            labels=np.arange(count) % CLASSES,
            classes=tuple(map(str, range(CLASSES))),
            splits={"train": np.arange(TRAIN), "val": np.arange(TRAIN, count)},
            digest="0" * 32,
            pixels="black",
        )
        train, val = (DeviceImages(images, split, GPU, resident=self.resident) for split in ("train", "val"))
        return TrialData(train, val, images.classes)


CASES = {
    "crop and flip": Case({}),
    "clipped gradients": Case({"gradient_clip": 1.0}),
    "every augmentation": Case({"augment": EVERYTHING}),
    "a random operation": Case({"augment": {**FLIP, "policy": "trivial_augment"}}),
    "mixed": Case({"augment": {**FLIP, "mixup": 0.2, "cutmix": 1.0}}),
    "balanced": Case({"class_balance": {"sampling": 0.5, "weights": "inverse", "loss": "focal"}}),
    "sgd": Case({"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}),
    "adam": Case({"optimizer": {"name": "adam", "amsgrad": True}}),
    "streamed": Case({}, resident=False),
    "larger images": Case({}, size=96),
    "larger images, every augmentation": Case({"augment": EVERYTHING}, size=96),
    "autoencoder": Case({"backbone": "cifar10_autoencoder"}, task=ReconstructionConfig(name="reconstruction")),
    "lamb": Case({"optimizer": {"name": "lamb"}}),
    "lion": Case({"optimizer": {"name": "lion"}}),
    "muon": Case({"optimizer": {"name": "muon", "lr": 0.02}}),
    "average of the weights": Case({"ema": 0.99}),
    "no schedule": Case({"optimizer": {"name": "schedule_free_adamw"}}),
    "the head first": Case({"unfreezing": {"head_epochs": 1}}),
    "growing images": Case({"progressive_resizing": 0.5}),
    "a teacher of larger images": Case({"teacher": "of-larger-images"}, teacher="resnet10t"),
    "mirror images": Case({"test_time_augmentation": "flip"}),
    "a last stage on features": Case({"trainable": "last_stage", "augment": {"mixup": 0.2}}, on_features=True),
}


def weights_of(backbone: str) -> str:
    """Return a file with weights of a backbone."""
    file = Path(tempfile.mkdtemp()) / "backbone.safetensors"
    save_file(timm.create_model(backbone, num_classes=0).state_dict(), file)
    return str(file)


def teacher_of(backbone: str | None) -> Teacher | None:
    """Return a teacher of images half as large again, whose weights lie in a file."""
    if backbone is None:
        return None
    network = TrialConfig(backbone=backbone, image_size=3 * SIDE // 2)
    file = Path(tempfile.mkdtemp()) / "teacher.safetensors"
    save_file(build_classifier(network, CLASSES).state_dict(), file)
    return Teacher(weights=str(file), digest="0" * 32, networks=(network,), classes=CLASSES)


class Operators(TorchDispatchMode):
    """Counts what is sent to the GPU: a view is not, an operator of many tensors is one."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = torch.utils._pytree.tree_leaves((args, kwargs, result))
        if any(isinstance(tensor, torch.Tensor) and tensor.is_cuda for tensor in tensors):
            self.count += not func.is_view and func.overloadpacket.__name__ not in NO_WORK
        return result


def main() -> None:
    load_model_files(sorted(map(str, MODELS.glob("*.py"))))
    print(json.dumps({name: result_of(name) for name in sys.argv[1:]}), flush=True)
    os._exit(0)  # autograd's thread of the device may still be at work, which an end in good order can abort on


def result_of(name: str) -> dict[str, Any]:
    if name == "branches":
        return {json.dumps(config): trains(config) for config in branches()}
    return asdict(measure(CASES[name]) if name in CASES else measure_stack(int(name)))


def branches() -> Iterator[dict[str, Any]]:
    """Yield a configuration for each alternative that the schema of a trial's hyperparameters has."""
    schema = TrialConfig.model_json_schema()
    base = {"head": {"hidden": [8]}}
    for key, part in schema["properties"].items():
        for value in alternatives(part, schema["$defs"]) if key != "pretrained" else ():  # which asks a hub
            yield {key: {**base[key], **value} if key in base and isinstance(value, dict) else value}


def alternatives(part: dict[str, Any], defs: dict[str, Any]) -> Iterator[Any]:
    """Yield the values of a part of a schema that name a kind or switch something on or off."""
    if "$ref" in part:
        yield from alternatives(defs[part["$ref"].rpartition("/")[2]], defs)
    elif "enum" in part or "const" in part:
        yield from part.get("enum", [part.get("const")])
    elif part.get("type") == "boolean":
        yield from (False, True)
    elif "properties" in part:
        name = part["properties"].get("name", {})
        for own in alternatives(name, defs) if name else [None]:
            named = {} if own is None else {"name": own}
            if named:
                yield named
            for key, inner in part["properties"].items():
                for value in alternatives(inner, defs) if key != "name" else ():
                    yield {**named, key: value}
    else:
        for inner in (*part.get("anyOf", ()), *part.get("oneOf", ())):
            yield from alternatives(inner, defs)


def trains(config: dict[str, Any]) -> str:
    """Return what kept a configuration from training for an epoch; nothing if it did."""
    case = Case(config)
    try:
        learner = build_learner(case.spec, case.data(), GPU, graphs=False)
        without_reading(learner.steps(GPU).meter)
        with EpochWriter(GPU) as writer:
            trainer._train_epoch(learner, Progress(), 1, GPU, writer)
    except Exception as error:  # whatever it is
        return f"{type(error).__name__}: {error}"
    return ""


def measure(case: Case) -> Asked:
    """Pass over the images once to warm up, then once to look at each kind of demand."""
    asked, spec, data = Asked(), case.spec, case.data()
    cache = FeatureCache(Path(tempfile.mkdtemp()))
    features = FrozenFeatures(cache, FeaturesConfig(views=1, last_stage=True), GPU) if case.on_features else None
    learner = build_learner(spec, data, GPU, features=features, graphs=False)
    progress = Progress()

    def train() -> None:
        with EpochWriter(GPU) as writer:
            trainer._train_epoch(learner, progress, 1, GPU, writer)

    def validate() -> None:
        found = learner.task.validate(learner.judged, learner.inputs.val(), GPU, learner.micro_batches)
        if found.top is not None:
            found.top.right(data.val)

    train()
    validate()
    with Operators() as operators:
        train()
    asked.operators = operators.count / data.steps(BATCH)
    without_reading(learner.steps(GPU).meter)
    with located(asked.waits), never_waits():
        train()
    before = waits()
    validate()
    learner.record(progress, None, GPU, best=True).state()
    asked.waits_an_epoch = waits() - before
    return asked


def measure_stack(heads: int) -> Asked:
    """Train heads on features at once for two epochs; all that the second one asked, its end included."""
    asked, data = Asked(), Case({}).data()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = folder / "test_resnet.safetensors"
        save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
        features = FrozenFeatures(FeatureCache(folder / "features"), FeaturesConfig(views=1), GPU)
        together = Together(
            data=data,
            objective=ObjectiveConfig(),
            patience=None,
            device=GPU,
            features=features,
            report=lambda _number, _metrics: False,
        )
        members = [open_member(number, weights, folder, together) for number in range(heads)]
        fused._run_epoch(members, together)
        before = waits()
        with Operators() as operators:
            fused._run_epoch(members, together)
        asked.waits_an_epoch = waits() - before
    asked.operators = operators.count / data.steps(BATCH)
    return asked


def open_member(number: int, weights: Path, folder: Path, together: Together) -> Member:
    config = {
        "backbone": "test_resnet",
        "pretrained": str(weights),
        "trainable": "head",
        "image_size": SIDE,
        "batch_size": BATCH,
        "head": {"hidden": [16], "norm": "batch", "dropout": 0.1 * (number % 3)},
        "optimizer": {"name": "adamw", "lr": 0.001 * (number + 1)},
        "augment": {"mixup": 0.2},
    }
    spec = TrialSpec(number=number, seed=number, epochs=3, config=TrialConfig.model_validate(config))
    member = fused._open(spec, TrialFolder(folder / str(number)), together)
    if not isinstance(member, Member):
        raise TypeError(f"the head cannot be trained: {member}")
    return member


def without_reading(meter: Any) -> None:
    """Let the metrics of a pass stay on the GPU: reading them once, at its end, is what must wait."""
    object.__setattr__(meter, "compute", dict)


@contextmanager
def located(found: list[str]) -> Iterator[None]:
    """Note the innermost line of the package at which an operation waited."""
    try:
        yield
    except RuntimeError as error:
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "/sweeper/" in frame.filename]
        found.append(f"{places[-1] if places else '?'}: {error}")


def waits() -> int:
    """Return how often this process has waited for the GPU, as the stand-in counts it."""
    count: Callable[[], int] = ctypes.CDLL(None).stand_in_waits
    return int(count())


if __name__ == "__main__":
    main()
