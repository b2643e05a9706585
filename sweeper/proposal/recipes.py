"""Settings of common practice to begin with, by what the images and the machine are: the first trials of a first study.

They lie in the search space that is written, so that the search goes on from them. All were better than most settings
drawn from that space (benchmarks/recipes.py, docs/performance.md), but for two that have not been compared with others:
FINE_TUNE_TRANSFORMER, and that of last stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sweeper.proposal.data import DataFacts

FEW_IMAGES = 20
"""Of the smallest class: below that a head on frozen features is the safer beginning."""

IMBALANCED = 3.0
"""From this ratio of the largest to the smallest class on, accuracy hides what becomes of the small ones."""

TRANSFORMERS = ("vit_", "deit", "swin", "beit", "eva", "xcit", "cait")


@dataclass(frozen=True)
class Recipe:
    """A configuration by its name, as `enqueue` takes it, and why it comes first."""

    name: str
    why: str
    settings: Mapping[str, Any]


FROM_SCRATCH = Recipe(
    "from_scratch",
    "no weights to begin from: a high learning rate that falls until the end",
    MappingProxyType({"optimizer": {"name": "adamw", "lr": 3e-3}, "weight_decay": 0.05, "label_smoothing": 0.1}),
)
FINE_TUNE_CONVNET = Recipe(
    "fine_tune_convnet",
    "pretrained convolutions: a tenth of the rate, since they need little change",
    MappingProxyType({"optimizer": {"name": "adamw", "lr": 5e-4}, "weight_decay": 0.05, "label_smoothing": 0.1}),
)
FINE_TUNE_TRANSFORMER = Recipe(
    "fine_tune_transformer",
    "a pretrained transformer: a low rate, lower still for its first layers",
    MappingProxyType(
        {
            "optimizer": {"name": "adamw", "lr": 1e-4},
            "weight_decay": 0.05,
            "label_smoothing": 0.1,
            "layer_decay": 0.75,
        }
    ),
)
FROZEN = Recipe(
    "frozen_backbone",
    f"fewer than {FEW_IMAGES} images in a class: only the head learns",
    MappingProxyType({"trainable": "head", "optimizer": {"name": "adamw", "lr": 1e-3}, "weight_decay": 0.05}),
)
SCHEDULE = MappingProxyType({"scheduler": {"name": "cosine"}})


def can_mirror(data: DataFacts) -> bool:
    """Return whether models may answer by an image and its mirror image."""
    return not data.grey


def recipes(data: DataFacts, backbone: str, padding: int, batches: list[int], pretrained: bool) -> list[Recipe]:
    """Return the configurations that a first study begins with, the one that is thought best first."""
    return [_fitted(recipe, data, backbone, padding, batches) for recipe in _bases(data, backbone, pretrained)]


def head_recipe(data: DataFacts, batches: list[int], *, beside: bool = False) -> Recipe:
    """Return the configuration that a study of heads on stored values begins with; `beside` last stages."""
    settings = {
        "batch_size": max(batches),
        "optimizer": {"name": "adamw", "lr": 3e-3},
        "weight_decay": 0.01,
        "label_smoothing": 0.1,
    }
    learning = {"trainable": "head"} if beside else {}
    why = "a head needs a higher rate than a network that is fine-tuned"
    return Recipe("head", why, MappingProxyType({**learning, **settings, **_balance(data)}))


def last_stage_recipe(data: DataFacts, batches: list[int], *, beside: bool = False) -> Recipe:
    """Return the configuration that a study of last stages on stored values begins with; `beside` heads."""
    settings = {
        **({"trainable": "last_stage"} if beside else {}),
        "batch_size": _fitting(data, batches),
        "optimizer": {"name": "adamw", "lr": 5e-4},
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "augment": {"mixup": 0.1},
        **_balance(data),
    }
    why = "pretrained layers need little change, so their rate is low"
    return Recipe("last_stage", why, MappingProxyType(settings))


def _balance(data: DataFacts) -> Mapping[str, Any]:
    return {"class_balance": {"sampling": 0.5}} if data.imbalance >= IMBALANCED else {}


def _fitting(data: DataFacts, batches: list[int]) -> int:
    """Return the largest batch with many steps in an epoch."""
    return next((size for size in sorted(batches, reverse=True) if data.train >= 40 * size), min(batches))


def _bases(data: DataFacts, backbone: str, pretrained: bool) -> Iterator[Recipe]:
    if not pretrained:
        yield FROM_SCRATCH
        return
    if data.fewest < FEW_IMAGES:
        yield FROZEN
    yield FINE_TUNE_TRANSFORMER if backbone.startswith(TRANSFORMERS) else FINE_TUNE_CONVNET


def _fitted(recipe: Recipe, data: DataFacts, backbone: str, padding: int, batches: list[int]) -> Recipe:
    """Add what follows from the images: small batches for few of them, flips of photographs, a balance of classes."""
    augment = {"crop_padding": padding, "flip": not data.grey}
    own = {"backbone": backbone, "batch_size": _fitting(data, batches)}
    mirror = {"test_time_augmentation": "flip"} if can_mirror(data) else {}
    settings = {**own, **recipe.settings, "augment": augment, **SCHEDULE, **mirror}
    why = [recipe.why]
    if data.imbalance >= IMBALANCED:
        settings["class_balance"] = {"sampling": 0.5}
        why.append("rare classes are drawn more often")
    return Recipe(recipe.name, "; ".join(why), settings)
