"""The repository's `models/` folder: our architectures, and the example that its README gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from sweeper.config.hyperparameters import TrialConfig
from sweeper.errors import ModelError
from sweeper.modeling.backbones import build_backbone
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.halves import cut
from sweeper.modeling.registry import check_names, load_model_files

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(autouse=True)
def loaded() -> None:
    load_model_files(sorted(MODELS.glob("*.py")))


@pytest.mark.parametrize(("name", "features"), [("small_resnet", 128), ("small_resnet_wide", 256)])
@pytest.mark.parametrize("size", [8, 28, 64])
def test_our_networks_take_images_of_8_to_64_pixels(name, features, size):
    backbone = build_backbone(name, False, size, drop_rate=0.1)
    assert backbone.features == features
    assert backbone.mean == (0.5, 0.5, 0.5)


def test_resnet9_takes_images_of_32_pixels_and_has_a_last_stage():
    assert build_backbone("resnet9", False, 32, drop_rate=0.1).features == 512
    model = build_classifier(TrialConfig(backbone="resnet9", image_size=32, trainable="last_stage"), 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_573_130
    learning = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert {name.rpartition("stages.")[2][0] for name in learning} == {"2"}


def test_our_networks_have_a_last_stage():
    model = build_classifier(TrialConfig(backbone="small_resnet", image_size=16, trainable="last_stage"), 10)
    names = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert names == {name for name, _ in model.backbone.named_parameters() if name.startswith("stages.3.")}


def test_our_networks_can_be_cut_before_their_last_stage():
    backbone = build_backbone("small_resnet", False, 16, drop_rate=0.1).module
    assert cut(backbone, 16).width == 64 * 4 * 4


def test_our_networks_behave_like_timms():
    model: Any = timm.create_model("small_resnet", num_classes=4, drop_rate=0.2).eval()
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(images), model.forward_head(model.forward_features(images)))
    assert model.forward_head(model.forward_features(images), pre_logits=True).shape == (2, 128)
    model.reset_classifier(0, "")
    assert model(images).shape == (2, 128, 2, 2)
    assert timm.create_model("small_resnet", num_classes=0, global_pool="max")(images).shape == (2, 128)


def test_weights_of_our_networks_can_be_loaded_again(tmp_path):
    save_file(timm.create_model("small_resnet", num_classes=4).state_dict(), tmp_path / "small.safetensors")
    assert build_backbone("small_resnet", str(tmp_path / "small.safetensors"), 16).features == 128


@pytest.mark.parametrize(
    ("name", "features", "smallest"),
    [
        ("food11_resnet", 512, 16),
        ("food11_resnet_v2", 512, 16),
        ("simpsons_cnn5", 512, 32),
        ("simpsons_cnn6", 2048, 16),
    ],
)
def test_networks_of_earlier_projects_take_images_of_many_sizes_and_have_a_last_stage(name, features, smallest):
    for size in (smallest, 100, 224):
        assert build_backbone(name, False, size, drop_rate=0.1).features == features
    config = TrialConfig(backbone=name, image_size=64, trainable="last_stage")
    learning = {
        key for key, parameter in build_classifier(config, 11).backbone.named_parameters() if parameter.requires_grad
    }
    assert {key.split(".")[0] for key in learning} == {"stages" if name.startswith("food11") else "connected"}
    assert timm.create_model(name, num_classes=7).eval()(torch.zeros(2, 3, 224, 224)).shape == (2, 7)


def test_a_network_for_one_size_refuses_images_that_are_too_small():
    with pytest.raises(ModelError, match="at least 32 pixels, got 16"):
        build_backbone("simpsons_cnn5", False, 16)


def test_blocks_of_the_two_food_networks_have_one_and_two_convolutions():
    for name, convolutions in (("food11_resnet", 1), ("food11_resnet_v2", 2)):
        network: Any = timm.create_model(name)
        block = network.stages[1]
        assert sum(isinstance(layer, torch.nn.Conv2d) for layer in block.body) == convolutions


def test_the_example_of_the_readme_works(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (MODELS / "README.md").read_text(), re.DOTALL)
    path = tmp_path / "tiny_net.py"
    path.write_text(code)
    assert check_names([("search.backbone", "tiny_net")], [], [("model_files.0", str(path))], []) == []
    config = TrialConfig(backbone="tiny_net", image_size=16, drop_rate=0.1, trainable="last_stage")
    model = build_classifier(config, 3)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
    learning = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in learning} == {"body"}


def test_the_readme_names_what_exists():
    named = re.findall(r"models/(\w+\.py)", (MODELS / "README.md").read_text())
    assert {path.name for path in MODELS.glob("*.py")} <= set(named)
    assert timm.is_model("small_resnet")
    assert timm.is_model("small_resnet_wide")
