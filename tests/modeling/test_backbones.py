"""Backbones: what they give, and which weight files they take."""

from __future__ import annotations

import pickle
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

NAME = "resnet10t"
SMALL = {"backbone": "test_resnet", "image_size": 32}


class Payload:
    """Creates a file when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """The weights of a whole timm model, its classifier of 10 classes included."""
    torch.manual_seed(1)
    return dict(timm.create_model("test_resnet", num_classes=10).state_dict())


def build(path: Path):
    return build_backbone("test_resnet", str(path), 32)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        build(path)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "size", "features"),
    [(NAME, 32, 512), ("mobilenetv3_small_050", 32, 1024), ("test_vit", 64, 64), ("test_resnet", 8, None)],
)
def test_features_are_what_the_network_gives(name, size, features):
    backbone = build_backbone(name, False, size, drop_rate=0.1)
    assert backbone.module(torch.zeros(2, 3, size, size)).shape == (2, backbone.features)
    assert features in (None, backbone.features)


def test_a_model_of_fixed_size_is_built_for_the_image_size():
    backbone = build_backbone("swin_tiny_patch4_window7_224", False, 32)
    assert backbone.module.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 768)


def test_normalization_is_the_architectures_own():
    assert build_backbone("tf_efficientnet_lite0", False, 32).mean == (0.5, 0.5, 0.5)
    assert build_backbone(NAME, False, 32).mean == pytest.approx((0.485, 0.456, 0.406))


def test_building_changes_no_batch_statistics():
    module: Any = build_backbone("test_resnet", False, 32).module
    assert module.training
    assert int(module.bn1.num_batches_tracked) == 0


def test_an_image_size_that_does_not_fit_fails_the_trial():
    with pytest.raises(ModelError, match=r"inception_v3 does not take 32-pixel images.*choose another image_size"):
        build_backbone("inception_v3", False, 32)


def test_an_unknown_architecture_fails_the_trial():
    with pytest.raises(ModelError, match="no_such_net cannot be built"):
        build_backbone("no_such_net", False, 32)


def test_pretrained_weights_that_the_hub_has_not_are_reported_before_asking_it():
    with pytest.raises(ModelError, match="the model hub has no weights for resnet200"):
        build_backbone("resnet200", True, 32)


def test_a_safetensors_file_without_its_classifier_is_loaded_whole(tmp_path, state):
    save_file(state, tmp_path / "weights.safetensors")
    loaded = build(tmp_path / "weights.safetensors").module.state_dict()
    assert loaded.keys() == {key for key in state if not key.startswith("fc.")}
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_a_file_from_before_batches_were_counted_is_loaded(tmp_path, state):
    uncounted = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(uncounted) < len(state)
    save_file(uncounted, tmp_path / "weights.safetensors")
    loaded = build(tmp_path / "weights.safetensors").module.state_dict()
    assert torch.equal(loaded["bn1.running_mean"], state["bn1.running_mean"])
    assert int(loaded["bn1.num_batches_tracked"]) == 0


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_a_torch_checkpoint_is_loaded_wrapped_or_not(tmp_path, state, wrapper):
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "weights.pth")
    assert torch.equal(build(tmp_path / "weights.pth").module.conv1[0].weight, state["conv1.0.weight"])


def test_weights_that_sweeper_wrote_give_their_backbone(tmp_path):
    classifier = build_classifier(TrialConfig(**SMALL), 7)
    save_file(classifier.state_dict(), tmp_path / "epoch-0001.safetensors")
    loaded = build(tmp_path / "epoch-0001.safetensors").module.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in classifier.backbone.state_dict().items())


def test_weights_of_another_image_size_are_resampled(tmp_path):
    save_file(timm.create_model("test_vit", img_size=64).state_dict(), tmp_path / "vit.safetensors")
    backbone = build_backbone("test_vit", str(tmp_path / "vit.safetensors"), 32)
    assert backbone.module.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 64)


def test_a_pickle_payload_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"fc.weight": Payload(trace)}, protocol=2))
    torch.save({"fc.weight": Payload(trace)}, tmp_path / "zipped.pth")
    for name in ("plain.pth", "zipped.pth"):
        assert "is refused, since reading it could run code" in refusal(tmp_path / name)
    assert not trace.exists()
    torch.load(tmp_path / "zipped.pth", weights_only=False)
    assert trace.exists()  # the payload was a live one


def test_missing_and_unexpected_keys_and_shapes_are_reported(tmp_path, state):
    state.pop("conv1.0.weight")
    state["strange.weight"] = torch.zeros(1)
    state["bn1.weight"] = torch.zeros(3)
    save_file(state, tmp_path / "weights.safetensors")
    message = refusal(tmp_path / "weights.safetensors")
    assert "missing: conv1.0.weight" in message
    assert "unexpected: strange.weight" in message
    assert "bn1.weight is [3] in the file and" in message
    assert "name the architecture" in message


def test_long_lists_of_differences_are_shortened(tmp_path, state):
    save_file(timm.create_model(NAME).state_dict(), tmp_path / "weights.safetensors")
    message = refusal(tmp_path / "weights.safetensors")
    assert " more" in message
    assert len(message) < 1500


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_a_truncated_file_is_reported(tmp_path, state, name):
    path = tmp_path / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be read as weights" in refusal(path)


def test_a_missing_file_is_reported(tmp_path):
    assert "cannot be read as weights" in refusal(tmp_path / "absent.pth")


def test_a_file_without_a_state_dict_is_reported(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    assert "not a mapping of names to tensors" in refusal(tmp_path / "list.pth")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_blocks_are_left_out_as_often_as_timm_leaves_them_out(name: str) -> None:
    def rates(module: Any) -> list[float]:
        return [part.drop_prob for part in module.modules() if hasattr(part, "drop_prob")]

    found = rates(build_backbone(name, False, 32, drop_path_rate=0.2).module)
    sized: dict[str, Any] = {"img_size": 32} if "vit" in name else {}
    assert found == rates(timm.create_model(name, drop_path_rate=0.2, **sized))
    assert found == sorted(found)
    assert found[-1] > 0
    assert not any(rates(build_backbone(name, False, 32).module))


def test_a_backbone_without_blocks_that_can_be_left_out_is_refused_by_name() -> None:
    for name in ("densenet121", "dla46x_c"):  # one refuses the argument, the other ignores it
        with pytest.raises(ModelError, match=f"{name} has no blocks that can be left out; set drop_path_rate to 0"):
            build_backbone(name, False, 32, drop_path_rate=0.2)
