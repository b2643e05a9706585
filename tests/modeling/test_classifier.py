"""The classifier: its head, and what is frozen of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import nn

from sweeper.config.hyperparameters import HeadConfig, TrialConfig
from sweeper.modeling.classifier import Classifier, build_classifier, freeze
from sweeper.modeling.heads import build_head
from sweeper.modeling.stages import last_stage


def classifier(trainable: str = "all", **options) -> Classifier:
    return build_classifier(TrialConfig(backbone="resnet10t", image_size=32, trainable=trainable, **options), 5)


def learning(module: nn.Module) -> set[str]:
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def test_an_empty_head_is_one_linear_layer():
    head = build_head(HeadConfig(), 8, 3)
    assert [(name, type(layer)) for name, layer in head.named_children()] == [("linear_out", nn.Linear)]


def test_hidden_layers_have_dropout_norm_and_activation_in_order():
    head = build_head(HeadConfig(hidden=(16, 4), activation="gelu", norm="layer", dropout=0.2), 8, 3)
    hidden = [nn.Dropout, nn.Linear, nn.LayerNorm, nn.GELU]
    assert [type(layer) for layer in head] == [*hidden, *hidden, nn.Dropout, nn.Linear]
    assert head(torch.zeros(2, 8)).shape == (2, 3)


def test_dropout_renames_no_weights():
    without = build_head(HeadConfig(hidden=(4,), norm="batch"), 8, 3)
    with_dropout = build_head(HeadConfig(hidden=(4,), norm="batch", dropout=0.5), 8, 3)
    assert without.state_dict().keys() == with_dropout.state_dict().keys()


def test_a_classifier_scores_every_class():
    model = classifier()
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_same_seed_gives_the_same_weights():
    torch.manual_seed(3)
    first = classifier().state_dict()
    torch.manual_seed(3)
    assert all(torch.equal(value, first[key]) for key, value in classifier().state_dict().items())


def test_weights_left_out_need_no_file():
    config = TrialConfig(backbone="resnet10t", image_size=32, pretrained="absent.safetensors")
    assert build_classifier(config, 5, load_weights=False)


def test_only_the_head_learns():
    model = classifier("head")
    assert learning(model) == {"head.linear_out.weight", "head.linear_out.bias"}
    assert sum(item.numel() for item in model.parameters() if item.requires_grad) == 512 * 5 + 5


def test_only_the_last_stage_and_the_head_learn():
    names = learning(classifier("last_stage"))
    assert {name.split(".")[1] for name in names} == {"layer4", "linear_out"}


def test_parameters_that_the_architecture_fixes_stay_fixed():
    model: Any = classifier()
    model.backbone.conv1[0].weight.requires_grad_(False)
    freeze(model, "all")
    assert "backbone.conv1.0.weight" not in learning(model)


@pytest.mark.parametrize("trainable", ["head", "last_stage"])
def test_batch_statistics_of_frozen_parts_stay_as_they_are(trainable):
    model = classifier(trainable, drop_rate=0.5).train()
    before = copy.deepcopy(model.state_dict())
    model(torch.randn(4, 3, 32, 32))
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert all(key.startswith("backbone.layer4") for key in changed)
    assert bool(changed) == (trainable == "last_stage")


def test_a_frozen_backbone_gives_the_same_features_in_training():
    model = classifier("head", drop_rate=0.5).train()
    images = torch.randn(4, 3, 32, 32)
    assert torch.equal(model.backbone(images), model.backbone(images))
    assert model.head.training


def test_unfrozen_parts_train_and_evaluation_evaluates():
    model: Any = classifier("last_stage").train()
    assert model.backbone.layer4.training
    assert not model.backbone.layer3.training
    assert not any(module.training for module in model.eval().modules())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", {"layer4"}),
        ("resnet10t", {"layer4"}),
        ("wide_resnet50_2", {"layer4"}),
        ("tf_efficientnet_lite0", {"blocks.6", "conv_head", "bn2"}),
        ("mobilenetv3_small_050", {"blocks.4", "blocks.5", "conv_head"}),
        ("swin_tiny_patch4_window7_224", {"layers.3", "norm"}),
        ("convnext_atto", {"stages.3", "head.norm"}),
        ("vit_tiny_patch16_224", {"blocks.11", "norm"}),
        ("densenet121", {"features.denseblock4", "features.norm5"}),
    ],
)
def test_the_last_stage_is_the_last_stage(name, expected):
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
    stage = last_stage(backbone)
    assert stage == {key for key, _ in backbone.named_parameters() if key.startswith(tuple(f"{e}." for e in expected))}
    assert all(any(key.startswith(f"{e}.") for key in stage) for e in expected)


def test_without_groups_the_last_child_that_transforms_is_the_last_stage():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    assert last_stage(backbone) == {"1.weight", "1.bias", "2.weight", "2.bias"}


def test_a_mirrored_classifier_answers_alike_for_an_image_and_its_mirror_image():
    model: Any = classifier(test_time_augmentation="flip").eval()
    images = torch.randn(4, 3, 32, 32)
    found = model(images)
    torch.testing.assert_close(found, model(images.flip(3)))
    torch.testing.assert_close(found.exp().sum(1), torch.ones(4))
    model.mirrored = False
    each = [model(view).softmax(1) for view in (images, images.flip(3))]
    torch.testing.assert_close(found.exp(), (each[0] + each[1]) / 2)


def test_a_mirrored_classifier_trains_on_the_images_as_they_are():
    model: Any = classifier(test_time_augmentation="flip").train()
    images = torch.randn(4, 3, 32, 32)
    found = copy.deepcopy(model)(images)
    model.mirrored = False
    assert torch.equal(found, model(images))
