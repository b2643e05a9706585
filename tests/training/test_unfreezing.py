"""Which parts of a network learn in which epoch, and that a resumed trial goes on alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import TypeAdapter
from torch import nn

from sweeper.config.hyperparameters import UnfreezingConfig
from sweeper.config.optimizer import AdamConfig, OptimizerConfig
from sweeper.modeling.classifier import Classifier, freeze
from sweeper.results import TrialStart
from sweeper.training.optim import build_optimizer
from sweeper.training.schedule_free import to_training
from sweeper.training.unfreezing import first_epochs, let_learn
from tests.training.learnable import comparable, run, spec_of

MEAN = (0.5, 0.5, 0.5)


def classifier(trainable: Any = "all") -> Classifier:
    backbone = timm.create_model("resnet10t", num_classes=0)
    network = Classifier(backbone, nn.Linear(512, 3), MEAN, MEAN)
    freeze(network, trainable)
    return network


def optimizer_of(network: Classifier, **settings: int) -> torch.optim.Optimizer:
    config = AdamConfig(name="adamw")
    begins = first_epochs(network, UnfreezingConfig.model_validate(settings))
    return build_optimizer(network, config, 0.1, False, "cpu", begins=begins)


def learning(network: nn.Module) -> set[str]:
    return {".".join(name.split(".")[:2]) for name, p in network.named_parameters() if p.requires_grad}


def test_the_head_learns_alone_then_all_of_it() -> None:
    network = classifier()
    optimizer = optimizer_of(network, head_epochs=2)
    everything = learning(network)
    seen = []
    for epoch in (1, 2, 3, 4):
        changed = let_learn(optimizer, epoch)
        seen.append((changed, learning(network)))
    alone = {"head.weight", "head.bias"}
    assert seen == [(True, alone), (False, alone), (True, everything), (False, everything)]


def test_stages_follow_one_after_another_from_the_last_one() -> None:
    network = classifier()
    optimizer = optimizer_of(network, head_epochs=1, stage_epochs=2)
    layers = []
    for epoch in range(1, 9):
        let_learn(optimizer, epoch)
        layers.append({name for name in learning(network) if name.startswith("backbone.layer")})
    fourth, third = {"backbone.layer4"}, {"backbone.layer4", "backbone.layer3"}
    assert layers[:5] == [set(), fourth, fourth, third, third]
    assert layers[7] == {f"backbone.layer{number}" for number in (1, 2, 3, 4)}


def test_what_is_frozen_for_good_stays_so() -> None:
    network = classifier("last_stage")
    before = learning(network)
    optimizer = optimizer_of(network, head_epochs=1, stage_epochs=1)
    for epoch in range(1, 12):
        let_learn(optimizer, epoch)
    assert learning(network) == before


def test_a_backbone_that_waits_keeps_weights_and_statistics(tmp_path: Path) -> None:
    """The head's epochs equal those of a trial whose backbone never learns."""
    settings: dict[str, Any] = {"epochs": 3, "scheduler": "constant"}
    _, waiting = run(spec_of(**settings, unfreezing={"head_epochs": 2}), tmp_path / "waiting")
    _, frozen = run(spec_of(**settings, trainable="head"), tmp_path / "frozen")
    assert comparable(waiting[:2]) == comparable(frozen[:2])
    assert comparable(waiting[2:]) != comparable(frozen[2:])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "schedule_free_adamw"])
def test_a_trial_that_is_resumed_in_any_epoch_ends_as_if_it_had_not_been(tmp_path: Path, optimizer: str) -> None:
    spec = spec_of(
        epochs=5, optimizer={"name": optimizer, "lr": 0.01}, unfreezing={"head_epochs": 1, "stage_epochs": 1}
    )
    _, whole = run(spec, tmp_path / "whole")
    for stop in (1, 2, 3):
        cut = spec.model_copy(update={"pause_after": stop})
        run(cut, tmp_path / f"cut {stop}")
        _, resumed = run(spec, tmp_path / f"cut {stop}")
        assert comparable(resumed) == comparable(whole)


@pytest.mark.parametrize("name", ["adamw", "schedule_free_adamw", "lamb", "lion"])
def test_the_first_steps_of_a_part_that_begins_late_are_as_large_as_those_of_one_that_began_at_once(name: str) -> None:
    """An optimizer that counts steps in a group took a late part's first averages for settled ones: 16 times as far."""
    config: Any = TypeAdapter(OptimizerConfig).validate_python({"name": name, "lr": 1e-3})

    def moved(waits: int) -> float:
        torch.manual_seed(0)
        network = classifier()
        begins = first_epochs(network, UnfreezingConfig(head_epochs=waits))
        optimizer = build_optimizer(network, config, 0.0, False, "cpu", begins=begins)
        weight = network.backbone.get_submodule("layer4")[0].conv1.weight  # type: ignore[index]
        for epoch in (1, 2):
            let_learn(optimizer, epoch)
            to_training(optimizer)
            before = weight.detach().clone()
            for _ in range(300 if epoch == 1 else 3):
                for parameter in network.parameters():
                    parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
                optimizer.step()
            if epoch == waits + 1:
                return float((weight.detach() - before).abs().mean())
        raise AssertionError

    assert moved(1) < 2 * 3 * 1e-3  # at most, of three steps at this rate


def test_momenta_that_were_loaded_stay(tmp_path: Path) -> None:
    network = classifier()
    begins = first_epochs(network, UnfreezingConfig(head_epochs=1))
    config: Any = TypeAdapter(OptimizerConfig).validate_python({"name": "sgd", "lr": 0.1})
    optimizer = build_optimizer(network, config, 0.0, False, "cpu", begins=begins)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    let_learn(optimizer, 1)
    let_learn(optimizer, 2)
    assert all(state["momentum_buffer"].abs().sum() > 0 for state in optimizer.state.values())


def test_what_is_set_anew_in_a_trial_that_goes_on_counts_from_its_own_first_epoch(tmp_path: Path) -> None:
    spec = spec_of(epochs=2, unfreezing={"head_epochs": 1})
    run(spec, tmp_path / "first")
    (weights,) = (tmp_path / "first" / "artifacts" / "weights").glob("*.safetensors")
    start = TrialStart(epochs=2, weights=str(weights), unfreezing_after=2)
    on = spec.model_copy(
        update={"epochs": 4, "start": start, "config": spec.config.model_copy(update={"pretrained": str(weights)})}
    )
    _, waiting = run(on, tmp_path / "waiting")
    at_once = on.config.model_copy(update={"unfreezing": UnfreezingConfig()})
    _, all_learn = run(on.model_copy(update={"config": at_once}), tmp_path / "at once")
    inherits = start.model_copy(update={"unfreezing_after": 0})
    _, inherited = run(on.model_copy(update={"start": inherits}), tmp_path / "inherited")
    assert [epoch.epoch for epoch in waiting] == [3, 4]
    assert comparable(waiting[:1]) != comparable(all_learn[:1])
    assert comparable(inherited) == comparable(all_learn)
