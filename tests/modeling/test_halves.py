"""A backbone cut before its last stage: both halves together are the whole, and the second half learns as it would."""

from __future__ import annotations

import operator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeper.config.hyperparameters import TrialConfig
from sweeper.errors import ModelError
from sweeper.modeling.classifier import Classifier, build_classifier
from sweeper.modeling.halves import _name_of, cut, learning_half
from sweeper.modeling.stages import last_stage

SIDE = 64
NAMES = ["resnet10t", "vit_tiny_patch16_224", "test_efficientnet", "test_convnext", "mobilenetv3_small_050"]


def classifier(name: str, **changed: Any) -> Classifier:
    torch.manual_seed(0)
    return build_classifier(TrialConfig(backbone=name, image_size=SIDE, trainable="last_stage", **changed), 5)


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_both_halves_give_the_features_of_the_whole(name: str) -> None:
    backbone = classifier(name).backbone.eval()
    halves = cut(backbone, SIDE)
    with torch.no_grad():
        values = halves.frozen(images())
        assert values.shape == (3, halves.width)
        torch.testing.assert_close(halves.learning(values), backbone(images()))


@pytest.mark.parametrize("name", NAMES)
def test_what_learns_is_in_the_second_half_alone_and_belongs_to_the_backbone(name: str) -> None:
    backbone = classifier(name).backbone
    halves, stage = cut(backbone, SIDE), last_stage(backbone)
    learning = {id(weight) for key, weight in backbone.named_parameters() if key in stage}
    assert learning <= {id(weight) for weight in halves.learning.parameters()}
    assert not learning & {id(weight) for weight in halves.frozen.parameters()}


def test_a_last_stage_that_begins_elsewhere_is_refused() -> None:
    model = classifier("resnet10t")
    where = cut(model.backbone, SIDE).where
    assert where == "layer3 (256, 4, 4)"
    learning_half(model, SIDE, where)
    with pytest.raises(ModelError, match=r"follows layer2 .* without dropout, and here layer3 \(256, 4, 4\)"):
        learning_half(model, SIDE, "layer2 (128, 8, 8)")


@pytest.mark.parametrize("drop_rate", [0.0, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_in_training_the_second_half_learns_as_in_the_whole(name: str, drop_rate: float) -> None:
    def learned(network: nn.Module, inputs: Tensor) -> list[Tensor]:
        torch.manual_seed(2)  # of dropout
        network.train()(inputs).square().sum().backward()
        return [weight.grad for weight in network.parameters() if weight.grad is not None]

    whole, model = classifier(name, drop_rate=drop_rate), classifier(name, drop_rate=drop_rate)
    expected = learned(whole, images())
    with torch.no_grad():
        values = cut(model.backbone, SIDE).frozen(images())
    found = learned(learning_half(model, SIDE), values)
    assert len(found) == len(expected) > 2
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)
    for left, right in zip(model.buffers(), whole.buffers(), strict=True):  # batch statistics
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def test_a_cut_changes_neither_random_numbers_nor_what_is_in_training() -> None:
    model = classifier("resnet10t").train()
    modes, state = [part.training for part in model.modules()], torch.get_rng_state()
    assert {True, False} == set(modes)
    cut(model.backbone, SIDE)
    assert [part.training for part in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


class Deciding(nn.Module):
    """Its code cannot be recorded, since it depends on what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        seen = self.first(inputs)
        features: Tensor = self.last(seen if seen.mean() > 0 else -seen).mean((2, 3))
        return features


class Skipping(Deciding):
    """Its last stage sees images beside the stage before."""

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.last(self.first(inputs)).mean((2, 3)) + inputs.mean()
        return features


class Wild(Deciding):
    """Its values belong to no image."""

    def forward(self, inputs: Tensor) -> Tensor:
        features: Tensor = self.last(self.first(inputs).mean(0, keepdim=True)).mean((2, 3))
        return features


@pytest.mark.parametrize(
    ("kind", "told"),
    [(Deciding, "its code decides while it runs"), (Skipping, "goes on from 2 tensors"), (Wild, "one tensor")],
)
def test_a_backbone_that_cannot_be_cut_is_told_with_what_to_do(kind: type[nn.Module], told: str) -> None:
    with pytest.raises(ModelError, match=f"{told}.*; set features.last_stage to false"):
        cut(kind(), SIDE)


def test_a_function_is_named_without_its_place_in_memory() -> None:
    """Otherwise stored values would not be found again by the next process."""
    assert _name_of(nn.functional.relu) == "torch.nn.functional.relu"
    assert "0x" not in _name_of(torch.flatten) + _name_of(operator.add)
    assert _name_of("layer3") == "layer3"
