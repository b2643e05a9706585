"""Features of frozen backbones by ONNX Runtime: those of torch, and by torch where it cannot give them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sweeper.config.sweep import FeaturesConfig
from sweeper.data.feature_cache import FeatureCache, Features
from sweeper.errors import ExportError
from sweeper.modeling.backbones import build_backbone
from sweeper.modeling.formats import Predict
from sweeper.modeling.halves import cut
from sweeper.training import features as module_under_test
from sweeper.training import onnx_forward
from sweeper.training.features import FrozenFeatures
from sweeper.training.inputs import TrialData
from sweeper.training.onnx_forward import OnnxForward, quick_forward
from tests.training.learnable import CPU, colored, spec_of


@pytest.fixture(scope="module")
def data() -> TrialData:
    return colored(train=70, val=30)


def made(folder: Path, weights: str, data: TrialData) -> tuple[Features, Features]:
    """Return the features of both splits as a worker gets them that has just started."""
    spec = spec_of(trainable="head", pretrained=weights)
    served = FrozenFeatures(FeatureCache(folder), FeaturesConfig(views=2), CPU)
    train, val, _ = served.splits(served.backbone(spec.config), data, spec, None)
    found = [torch.cat([batch.inputs for batch in part.eval_batches(32)]).numpy() for part in (train, val)]
    return found[0], found[1]


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "test_efficientnet", "test_convnext"])
def test_the_stages_before_the_last_one_have_the_values_of_torch(name: str) -> None:
    torch.manual_seed(0)
    frozen = cut(build_backbone(name, False, 64).module, 64).frozen.eval()
    images = torch.randn(17, 3, 64, 64)
    with torch.inference_mode():
        expected = frozen(images)
        found = OnnxForward(frozen, 64)(images)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= onnx_forward.TOLERANCE * expected.abs().max()


def test_many_images_go_through_onnx_runtime_and_have_the_features_of_torch(
    tmp_path: Path, weights: str, data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_torch = made(tmp_path / "torch", weights, data)
    monkeypatch.setattr(module_under_test, "FEWEST_FOR_ONNX", 50)  # of 70 training and 30 validation images
    converted: list[int] = []
    convert = OnnxForward._convert

    def counted(forward: OnnxForward) -> Predict:
        converted.append(1)
        return convert(forward)

    monkeypatch.setattr(OnnxForward, "_convert", counted)
    by_onnx = made(tmp_path / "onnx", weights, data)
    assert converted == [1]
    for ours, theirs in zip(by_onnx, by_torch, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    names = [{file.name for file in (tmp_path / engine).glob("*.npy")} for engine in ("torch", "onnx")]
    assert len(names[0] & names[1]) == 1  # the few validation images went through torch both times
    made(tmp_path / "onnx", weights, data)
    assert converted == [1]  # they are there
    made(tmp_path / "torch", weights, data)
    assert converted == [1]  # so are those of torch, which a study may have begun with


def test_a_network_that_cannot_be_converted_is_put_through_torch_once(
    tmp_path: Path, weights: str, data: TrialData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    by_torch = made(tmp_path / "torch", weights, data)
    monkeypatch.setattr(module_under_test, "FEWEST_FOR_ONNX", 1)
    tried: list[int] = []

    def refuse(*_: object) -> None:
        tried.append(1)
        raise NotImplementedError("no such operator")

    monkeypatch.setattr("sweeper.training.onnx_forward.trace", refuse)
    with caplog.at_level(logging.WARNING):
        found = made(tmp_path / "other", weights, data)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, by_torch, strict=True))
    assert tried == [1]
    assert "no such operator; torch is used" in caplog.text


class Deciding(nn.Module):
    """What it computes follows from its input in a way that a trace does not see."""

    def forward(self, images: Tensor) -> Tensor:
        pooled = images.mean((2, 3))
        return pooled * 2 if torch.compiler.is_compiling() else pooled * 3


def test_outputs_that_differ_are_refused_with_the_difference() -> None:
    forward = OnnxForward(Deciding().eval(), 8)
    for _ in range(2):
        with pytest.raises(ExportError, match=r"differ by 3.3e-01 of the largest; torch is used"):
            forward(torch.ones(4, 3, 8, 8))


def test_few_images_and_other_devices_are_left_to_torch() -> None:
    network = nn.Conv2d(3, 2, 3)
    assert quick_forward(network, 8, CPU, onnx_forward.FEWEST_FOR_ONNX - 1) is network
    assert quick_forward(network, 8, torch.device("cuda"), 10**6) is network


def test_many_images_go_through_onnx_runtime_and_what_cannot_be_converted_through_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, images = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).eval(), torch.randn(20, 3, 8, 8)
    expected = network(images).detach()
    with torch.inference_mode():
        torch.testing.assert_close(quick_forward(network, 8, CPU, 10**6)(images), expected, rtol=1e-4, atol=1e-4)

    def refuse(*_: object) -> Predict:
        raise ExportError("it cannot be written as ONNX; torch is used")

    monkeypatch.setattr(OnnxForward, "_convert", refuse)
    forward = quick_forward(network, 8, CPU, 10**6)
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        for _ in range(3):
            assert torch.equal(forward(images), network(images))
    assert len([record for record in caplog.records if "torch is used" in record.message]) == 1
