"""The average of a network's weights: that of timm, without effect on training, and what is judged and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.utils.model_ema import ModelEmaV3

from sweeper.modeling.classifier import build_classifier
from sweeper.paths import TrialFolder
from sweeper.training.checkpoint import save_weights
from sweeper.training.evaluate import evaluate
from sweeper.training.stack.fused import stack_key
from sweeper.training.weight_average import WeightAverage
from tests.training.learnable import CPU, colored, run, spec_of


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_is_that_of_timm_buffers_included(decay: float) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    ours, theirs = WeightAverage(network, decay), ModelEmaV3(network, decay, use_warmup=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(1, 9):
        network(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
        ours.update()
        theirs.update(network, step)
    found, expected = ours.network.state_dict(), theirs.module.state_dict()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-6) for name in expected)
    first = next(iter(found))
    assert not torch.allclose(found[first], network.state_dict()[first])
    assert not any(parameter.requires_grad for parameter in ours.network.parameters())


def test_a_trial_trains_alike_and_is_judged_and_kept_by_its_average(tmp_path: Path) -> None:
    data = colored(noise=150)
    settings: dict[str, Any] = {"epochs": 4, "optimizer": {"name": "sgd", "lr": 0.3}, "scheduler": "constant"}
    _, plain = run(spec_of(**settings), tmp_path / "plain", data)
    spec = spec_of(**settings, ema=0.9)
    outcome, averaged = run(spec, tmp_path / "averaged", data)
    assert [epoch.values["train/loss"] for epoch in averaged] == [epoch.values["train/loss"] for epoch in plain]
    assert [epoch.values["val/loss"] for epoch in averaged] != [epoch.values["val/loss"] for epoch in plain]
    assert outcome.best_epoch is not None
    network = build_classifier(spec.config, 3)
    network.load_state_dict(load_file(TrialFolder(tmp_path / "averaged").weights_of(outcome.best_epoch)))
    network.to(memory_format=torch.channels_last)
    batches = data.val.eval_batches(spec.config.batch_size, spec.config.image_size, network.mean, network.std)
    again = evaluate(network, batches, classes=3, device=CPU).values
    assert again["accuracy"] == outcome.best_value
    assert again["loss"] == pytest.approx(averaged[outcome.best_epoch - 1].values["val/loss"], rel=1e-6)


def test_trials_with_an_average_are_not_trained_as_a_stack() -> None:
    assert stack_key(spec_of(trainable="head").config) is not None
    assert stack_key(spec_of(trainable="head", ema=0.9).config) is None


class Tied(torch.nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight


def test_weights_that_two_layers_share_are_averaged_once_and_stored_for_both(tmp_path: Path) -> None:
    network = Tied()
    average, plain = WeightAverage(network, 0.5), WeightAverage(network.first, 0.5)
    with torch.no_grad():
        network.first.weight += 1
    average.update()
    plain.update()
    found = average.network.state_dict()
    assert torch.equal(found["first.weight"], plain.network.state_dict()["weight"])
    save_weights(tmp_path / "tied.safetensors", found)
    stored = load_file(tmp_path / "tied.safetensors")
    assert torch.equal(stored["first.weight"], stored["second.weight"])
    assert torch.equal(stored["first.weight"], found["first.weight"])
