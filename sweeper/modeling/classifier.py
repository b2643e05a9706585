"""The network of one trial: a backbone, a head, and which of their weights may change."""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from torch import Tensor, nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.modeling.backbones import Backbone, Channels, backbone_of
from sweeper.modeling.heads import build_head
from sweeper.modeling.stages import last_stage

Trainable = Literal["all", "last_stage", "head"]


class Classifier(nn.Module):
    """Scores the classes of images [B, 3, H, W] that are normalised with `mean` and `std`.

    Args:
        backbone: Images to features [B, D].
        head: Features to class scores [B, C].
        mean, std: Of every channel, on the scale 0 to 1; the caller normalises.
        mirrored: Answer, except in training, with the mean of the probabilities for an image and its mirror image.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, mean: Channels, std: Channels, *, mirrored: bool = False):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.mean = mean
        self.std = std
        self.mirrored = mirrored

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(images))
        if not self.mirrored or self.training:
            return scores
        mirror: Tensor = self.head(self.backbone(images.flip(3)))
        return mean_of_probabilities(scores, mirror)

    def train(self, mode: bool = True) -> Self:
        """Switch to training, except for frozen parts: their batch statistics and outputs stay fixed."""
        super().train(mode)
        for part in frozen_parts(self):
            part.eval()
        return self


def mean_of_probabilities(first: Tensor, second: Tensor) -> Tensor:
    """Return the logarithm of the mean of two softmax distributions, from logits [..., C] each, as logits [..., C]."""
    return torch.logaddexp(first.log_softmax(-1), second.log_softmax(-1)) - math.log(2)


def build_classifier(
    config: TrialConfig, classes: int, *, load_weights: bool = True, backbone: Backbone | None = None
) -> Classifier:
    """Build a trial's network on the CPU, frozen as configured.

    New weights are drawn from torch's global random numbers, so the caller seeds. Those of the head
    do not depend on how many the backbone has drawn.

    Args:
        config: Of the trial.
        classes: Number of classes, C.
        load_weights: False leaves pretrained weights out, where others are loaded right after.
        backbone: One that is built already.

    Raises:
        ModelError: the backbone or its weights cannot be built as configured.
    """
    seed = int(torch.randint(2**62, ()))
    if backbone is None:
        backbone = backbone_of(config, load_weights=load_weights)
    torch.manual_seed(seed)
    head = build_head(config.head, backbone.features, classes)
    mirrored = config.test_time_augmentation == "flip"
    classifier = Classifier(backbone.module, head, backbone.mean, backbone.std, mirrored=mirrored)
    freeze(classifier, config.trainable)
    return classifier


def freeze(classifier: Classifier, trainable: Trainable) -> None:
    """Let only the head, the head and the backbone's last stage, or everything learn.

    Parameters that the architecture itself keeps fixed stay fixed.
    """
    if trainable == "all":
        return
    learning = last_stage(classifier.backbone) if trainable == "last_stage" else frozenset()
    for name, parameter in classifier.backbone.named_parameters():
        if name not in learning:
            parameter.requires_grad_(False)
    classifier.train(classifier.training)


def frozen_parts(module: nn.Module) -> list[nn.Module]:
    """Return the largest modules below `module` that have parameters and learn none of them."""
    parts: list[nn.Module] = []
    for child in module.children():
        parameters = list(child.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            parts.append(child)
        else:
            parts += frozen_parts(child)
    return parts
