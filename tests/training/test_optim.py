"""The optimizer's groups and options."""

from __future__ import annotations

import pytest
import timm
import timm.optim
import torch
from pydantic import TypeAdapter
from torch import nn

from sweeper.config.hyperparameters import CosineConfig
from sweeper.config.optimizer import OptimizerConfig
from sweeper.errors import ModelError
from sweeper.modeling.classifier import Classifier, freeze
from sweeper.training.optim import build_optimizer, layer_scales
from sweeper.training.schedule import LearningRate

ADAPTER = TypeAdapter(OptimizerConfig)


class Backbone(nn.Module):
    """A convolution, a normalisation, and a position embedding that wants no decay."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.position = nn.Parameter(torch.zeros(1, 4, 4))

    def no_weight_decay(self) -> set[str]:
        return {"position"}


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(Backbone(), nn.Sequential(nn.Linear(4, 2)), (0.5,) * 3, (0.5,) * 3)


def build(classifier, decay_norm_and_bias=False, **config) -> torch.optim.Optimizer:
    return build_optimizer(classifier, ADAPTER.validate_python(config), 0.1, decay_norm_and_bias, "cpu")


def groups(classifier, optimizer) -> dict[frozenset[str], tuple[float, float]]:
    """Return the names in every group with its (learning rate, weight decay)."""
    names = {parameter: name for name, parameter in classifier.named_parameters()}
    return {
        frozenset(names[parameter] for parameter in group["params"]): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
    }


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_norms_biases_and_embeddings_are_exempt_from_decay(classifier, name):
    optimizer = build(classifier, name=name, lr=0.01, head_lr_factor=10)
    assert groups(classifier, optimizer) == {
        frozenset({"backbone.conv.weight"}): (0.01, 0.1),
        frozenset({"backbone.conv.bias", "backbone.bn.weight", "backbone.bn.bias", "backbone.position"}): (0.01, 0.0),
        frozenset({"head.0.weight"}): (0.1, 0.1),
        frozenset({"head.0.bias"}): (0.1, 0.0),
    }


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_everything_decays_when_asked_for(classifier, name):
    optimizer = build(classifier, True, name=name)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.1}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(classifier.parameters()))


def test_what_is_frozen_is_in_no_group(classifier):
    freeze(classifier, "head")
    assert set().union(*groups(classifier, build(classifier, name="adamw"))) == {"head.0.weight", "head.0.bias"}


def test_adam_and_adamw_are_torchs_own_with_their_options(classifier):
    optimizer = build(classifier, name="adamw", betas=(0.8, 0.99), eps=1e-6, amsgrad=True)
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"], optimizer.defaults["amsgrad"]) == (
        (0.8, 0.99),
        1e-6,
        True,
    )
    assert type(build(classifier, name="adam")) is torch.optim.Adam


def test_sgd_without_momentum_is_plain(classifier):
    plain = build(classifier, name="sgd", momentum=0.0)
    assert type(plain) is torch.optim.SGD
    assert not plain.defaults["nesterov"]
    assert build(classifier, name="sgd").defaults["nesterov"]


def test_options_reach_timms_optimizer(classifier):
    optimizer = build(classifier, name="rmsprop", options={"alpha": 0.5, "momentum": 0.3})
    assert type(optimizer) is torch.optim.RMSprop
    assert (optimizer.defaults["alpha"], optimizer.defaults["momentum"]) == (0.5, 0.3)


@pytest.mark.parametrize(("name", "options"), [("lion", {"colour": 1}), ("nosuch", {}), ("lion", {"lr": 1})])
def test_what_timm_refuses_fails_the_trial(classifier, name, options):
    with pytest.raises(ModelError, match=f"timm's optimizer {name} cannot be built"):
        build(classifier, name=name, options=options)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lamb"])
def test_a_step_against_the_gradient_lowers_the_loss(classifier, name):
    torch.manual_seed(0)
    optimizer = build(classifier, name=name, lr=1e-2)
    features, labels = torch.randn(8, 4), torch.arange(8) % 2
    losses = []
    for _ in range(5):
        loss = nn.functional.cross_entropy(classifier.head(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_an_embedding_of_a_vision_transformer_is_not_decayed():
    backbone = timm.create_model("test_vit", num_classes=0)
    classifier = Classifier(backbone, nn.Linear(64, 2), (0.5,) * 3, (0.5,) * 3)
    (decayed,) = (names for names, (_, decay) in groups(classifier, build(classifier, name="adamw")).items()
                  if decay and any(name.startswith("backbone") for name in names))  # fmt: skip
    assert "backbone.blocks.0.attn.qkv.weight" in decayed
    assert not {"backbone.pos_embed", "backbone.cls_token"} & decayed


@pytest.mark.parametrize(
    "name", ["resnet10t", "convnext_atto", "vit_tiny_patch16_224", "efficientnet_lite0", "test_resnet"]
)
@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_layers_have_the_rates_that_timm_gives_them(name: str, decay: float) -> None:
    whole = timm.create_model(name, num_classes=3)
    wanted: dict[str, float] = {}
    for group in timm.optim.param_groups_layer_decay(whole, 0.1, layer_decay=decay):  # type: ignore[attr-defined]
        names = {id(parameter): name for name, parameter in whole.named_parameters()}
        wanted |= {names[id(parameter)]: group["lr_scale"] for parameter in group["params"]}
    backbone = timm.create_model(name, num_classes=0)
    network = Classifier(backbone, nn.Sequential(nn.Linear(4, 3)), (0.5,) * 3, (0.5,) * 3)
    found = layer_scales(network, decay)
    for parameter, _ in backbone.named_parameters():
        assert found[f"backbone.{parameter}"] == pytest.approx(wanted[parameter]), parameter


def test_a_backbone_of_ones_own_has_its_children_for_layers(classifier: Classifier) -> None:
    optimizer = build_optimizer(classifier, ADAPTER.validate_python({"name": "sgd", "lr": 1.0}), 0.1, True, "cpu", 0.5)
    assert groups(classifier, optimizer) == {
        frozenset({"backbone.bn.weight", "backbone.bn.bias"}): (0.5, 0.1),
        frozenset({"backbone.conv.weight", "backbone.conv.bias"}): (0.25, 0.1),
        frozenset({"backbone.position"}): (0.125, 0.1),
        frozenset({"head.0.weight", "head.0.bias"}): (1.0, 0.1),
    }


def test_the_rate_that_is_told_is_the_one_that_layers_have_parts_of(classifier: Classifier) -> None:
    optimizer = build_optimizer(classifier, ADAPTER.validate_python({"name": "sgd", "lr": 0.3}), 0.1, False, "cpu", 0.5)
    rate = LearningRate(optimizer, CosineConfig(name="cosine"), steps_per_epoch=2, epochs=2)
    assert rate.lr == pytest.approx(0.3)
    rate.before_step(2)
    assert rate.lr == pytest.approx(0.15)


def test_without_a_decay_of_rates_nothing_changes(classifier: Classifier) -> None:
    assert layer_scales(classifier, 1.0) == {}
    assert [group["layer_scale"] for group in build(classifier, name="sgd").param_groups] == [1.0] * 4
