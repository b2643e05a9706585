"""A backbone: a timm architecture without its classifier, giving one feature vector an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import is_model_pretrained
from torch import nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.errors import ModelError
from sweeper.modeling.hub import is_out_of_reach, out_of_reach
from sweeper.modeling.weights import load_weights

USUAL_CLASSIFIERS = ("fc", "head", "classifier")
"""What a classifier is called where the architecture does not say."""

Channels = tuple[float, ...]


class Backbone(NamedTuple):
    """A feature extractor with what its users must know."""

    module: nn.Module
    """Takes images [B, 3, image_size, image_size], gives features [B, D]."""
    features: int
    """D."""
    mean: Channels
    """Mean of every channel, on the scale 0 to 1, that images are normalised with."""
    std: Channels
    """Standard deviation likewise."""


def backbone_of(config: TrialConfig, *, load_weights: bool = True, decoder: bool = False) -> Backbone:
    """Build the backbone of a trial; `load_weights` as False leaves pretrained weights out. Raises ModelError."""
    return build_backbone(
        config.backbone,
        config.pretrained if load_weights else False,
        config.image_size,
        drop_rate=config.drop_rate,
        drop_path_rate=config.drop_path_rate,
        decoder=decoder,
    )


def build_backbone(
    name: str,
    pretrained: bool | str,
    image_size: int,
    *,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    decoder: bool = False,
) -> Backbone:
    """Build a timm architecture with pooled features instead of class scores.

    Args:
        name: An architecture that timm knows, with or without a pretrained tag.
        pretrained: True for weights from the model hub, a path for weights from a file.
        image_size: Side of the square images, in pixels.
        drop_rate: Dropout rate of the architecture's own layers.
        drop_path_rate: How often its last block is left out in training (stochastic depth, arXiv 1603.09382).
        decoder: Build the module with a `decode` that turns features back into images.

    Raises:
        ModelError: the architecture cannot be built, has no decoder where one is asked for, does not take
            such images, or its weights do not fit.
    """
    if pretrained is True and not is_model_pretrained(name):
        raise ModelError(f"the model hub has no weights for {name}; set pretrained to false or to the path of a file")
    rates = {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    given = {key: rate for key, rate in rates.items() if rate}
    module = create(name, pretrained is True, given, image_size=image_size, decoder=decoder)
    if isinstance(pretrained, str):
        load_weights(module, Path(pretrained), classifiers(module))
    features = feature_count(name, module, image_size)
    return Backbone(module, features, *normalization(module))


def create(
    name: str, pretrained: bool, rates: Mapping[str, float], *, image_size: int | None = None, decoder: bool = False
) -> nn.Module:
    """Build an architecture without its classifier, of a size of its own where none is given. Raises ModelError."""
    options: dict[str, Any] = {**rates, **({"decoder": True} if decoder else {})}
    try:
        config = timm.get_pretrained_cfg(name)
        if config is not None and config.fixed_input_size and image_size is not None:
            options["img_size"] = image_size
        module: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    except Exception as error:  # any architecture's code may raise anything; it must fail this trial only
        if "drop_path_rate" in rates and "drop_path_rate" in str(error):
            raise _nothing_to_leave_out(name) from error
        if pretrained and is_out_of_reach(error):
            raise ModelError(out_of_reach(name, error)) from error
        weights = " with weights from the model hub" if pretrained else ""
        weights += " with a decoder" if decoder else ""
        images = f" for {image_size}-pixel images" if image_size is not None else ""
        raise ModelError(f"{name} cannot be built{weights}{images}: {error}") from error
    if "drop_path_rate" in rates and not any(getattr(part, "drop_prob", 0) for part in module.modules()):
        raise _nothing_to_leave_out(name)
    if decoder and not callable(getattr(module, "decode", None)):
        raise ModelError(f"{name} has no decoder; name an architecture that reconstructs (models/README.md)")
    return module


def _nothing_to_leave_out(name: str) -> ModelError:
    return ModelError(f"{name} has no blocks that can be left out; set drop_path_rate to 0, or use another backbone")


def feature_count(name: str, module: nn.Module, image_size: int) -> int:
    """Return D by looking at the features of one black image; attributes are not reliable for every model."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            features = module(torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # as above
        raise ModelError(
            f"{name} does not take {image_size}-pixel images: {error}; choose another image_size"
        ) from error
    finally:
        module.train(training)
    return checked_width(name, features)


def checked_width(name: str, features: Any) -> int:
    """Return the width of features [1, D]. Raises ModelError when they are of any other shape."""
    shape = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != 1:
        raise ModelError(f"{name} built with num_classes=0 should give features [1, D] for one image, got {shape}")
    return int(features.shape[1])


def normalization(module: nn.Module) -> tuple[Channels, Channels]:
    """Return the mean and standard deviation of every channel that the architecture asks for, else ImageNet's."""
    config = config_of(module)
    mean, std = config.get("mean") or IMAGENET_DEFAULT_MEAN, config.get("std") or IMAGENET_DEFAULT_STD
    return tuple(float(value) for value in mean), tuple(float(value) for value in std)


def classifiers(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that score classes when the architecture is built whole."""
    names = config_of(module).get("classifier") or USUAL_CLASSIFIERS
    # Inception's auxiliary classifier is left out of backbones too.
    return ((names,) if isinstance(names, str) else tuple(names)) + ("AuxLogits",)


def config_of(module: nn.Module) -> dict[str, Any]:
    return dict(getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None) or {})
