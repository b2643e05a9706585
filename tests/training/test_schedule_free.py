"""Schedule-free AdamW: the library's own steps, judged and kept by the average."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from schedulefree import AdamWScheduleFree

from sweeper.modeling.classifier import build_classifier
from sweeper.paths import TrialFolder
from sweeper.training.evaluate import evaluate
from sweeper.training.micro_batch import MicroBatches
from sweeper.training.ranks import ALONE
from sweeper.training.schedule_free import to_average, to_training
from sweeper.training.stack.fused import stack_key
from tests.training.learnable import CPU, colored, comparable, run, spec_of

SETTINGS: dict[str, Any] = {
    "epochs": 4,
    "optimizer": {"name": "schedule_free_adamw", "lr": 0.02},
    "scheduler": "constant",
}


def batches(data: Any) -> Any:
    return data.val.eval_batches(16, 8, (0.5,) * 3, (0.5,) * 3)


def test_the_network_goes_to_the_average_and_back() -> None:
    torch.manual_seed(0)
    network, data = timm.create_model("test_resnet", num_classes=3), colored()
    optimizer = AdamWScheduleFree(network.parameters(), lr=0.01)
    to_training(optimizer)
    for batch in batches(data):
        optimizer.zero_grad()
        network(batch.inputs).square().mean().backward()
        optimizer.step()
    trained_with = [parameter.detach().clone() for parameter in network.parameters()]
    to_average(optimizer, network, batches(data), MicroBatches(CPU), CPU, ALONE)
    averages = [parameter.detach().clone() for parameter in network.parameters()]
    assert not all(torch.equal(*pair) for pair in zip(trained_with, averages, strict=True))
    to_training(optimizer)
    for before, after in zip(trained_with, network.parameters(), strict=True):
        torch.testing.assert_close(before, after.detach(), rtol=1e-5, atol=1e-6)


def test_statistics_of_batch_normalisation_are_those_of_the_average() -> None:
    torch.manual_seed(0)
    network, data = timm.create_model("test_resnet", num_classes=3).train(), colored()
    optimizer = AdamWScheduleFree(network.parameters(), lr=0.01)
    first, norm = network.get_submodule("conv1"), network.get_submodule("bn1")
    mean = norm.get_buffer("running_mean")
    mean += 100
    to_average(optimizer, network, batches(data), MicroBatches(CPU), CPU, ALONE)
    expected = torch.cat([first(batch.inputs).mean((2, 3)) for batch in batches(data)]).mean(0)  # each image alike
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-4, atol=1e-5)
    assert norm.momentum == pytest.approx(0.1)


def test_another_optimizer_changes_nothing() -> None:
    network, data = timm.create_model("test_resnet", num_classes=3).train(), colored()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    to_average(torch.optim.SGD(network.parameters()), network, batches(data), MicroBatches(CPU), CPU, ALONE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_what_is_kept_is_what_was_judged(tmp_path: Path) -> None:
    data, spec = colored(noise=150), spec_of(**SETTINGS)
    outcome, epochs = run(spec, tmp_path, data)
    assert outcome.best_epoch is not None
    network = build_classifier(spec.config, 3)
    network.load_state_dict(load_file(TrialFolder(tmp_path).weights_of(outcome.best_epoch)))
    network.to(memory_format=torch.channels_last)
    held = data.val.eval_batches(spec.config.batch_size, spec.config.image_size, network.mean, network.std)
    again = evaluate(network, held, classes=3, device=CPU).values
    assert again["accuracy"] == outcome.best_value
    assert again["loss"] == pytest.approx(epochs[outcome.best_epoch - 1].values["val/loss"], rel=1e-6)


def test_a_trial_learns_and_goes_on_alike_after_a_pause(tmp_path: Path) -> None:
    spec = spec_of(**{**SETTINGS, "epochs": 6})
    _, whole = run(spec, tmp_path / "whole")
    losses = [epoch.values["train/loss"] for epoch in whole]
    assert sum(later < earlier for earlier, later in pairwise(losses)) >= 4
    run(spec.model_copy(update={"pause_after": 3}), tmp_path / "cut")
    _, resumed = run(spec, tmp_path / "cut")
    assert comparable(resumed) == comparable(whole)


def test_such_trials_are_not_trained_as_a_stack() -> None:
    assert stack_key(spec_of(trainable="head", optimizer="schedule_free_adamw").config) is None
