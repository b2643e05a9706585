"""The repository's `models/` folder: our architectures, and the example that its README gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from sweeper.config.hyperparameters import TrialConfig
from sweeper.modeling.backbones import build_backbone
from sweeper.modeling.classifier import build_classifier
from sweeper.modeling.registry import check_names, load_model_files

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(autouse=True)
def loaded() -> None:
    load_model_files([MODELS / "small_resnet.py"])


@pytest.mark.parametrize(("name", "features"), [("small_resnet", 128), ("small_resnet_wide", 256)])
@pytest.mark.parametrize("size", [8, 28, 64])
def test_our_networks_take_images_of_8_to_64_pixels(name, features, size):
    backbone = build_backbone(name, False, 0.1, size)
    assert backbone.features == features
    assert backbone.mean == (0.5, 0.5, 0.5)


def test_our_networks_have_a_last_stage():
    model = build_classifier(TrialConfig(backbone="small_resnet", image_size=16, trainable="last_stage"), 10)
    names = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert names == {name for name, _ in model.backbone.named_parameters() if name.startswith("stages.3.")}


def test_our_networks_behave_like_timms():
    model = timm.create_model("small_resnet", num_classes=4, drop_rate=0.2).eval()
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(images), model.forward_head(model.forward_features(images)))
    assert model.forward_head(model.forward_features(images), pre_logits=True).shape == (2, 128)
    model.reset_classifier(0, "")
    assert model(images).shape == (2, 128, 2, 2)
    assert timm.create_model("small_resnet", num_classes=0, global_pool="max")(images).shape == (2, 128)


def test_weights_of_our_networks_can_be_loaded_again(tmp_path):
    save_file(timm.create_model("small_resnet", num_classes=4).state_dict(), tmp_path / "small.safetensors")
    assert build_backbone("small_resnet", str(tmp_path / "small.safetensors"), 0.0, 16).features == 128


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
    assert "small_resnet.py" in named
    assert timm.is_model("small_resnet")
    assert timm.is_model("small_resnet_wide")
