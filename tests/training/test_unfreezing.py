"""Which parts of a network learn in which epoch, and that a resumed trial goes on alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from sweeper.config.hyperparameters import UnfreezingConfig
from sweeper.modeling.classifier import Classifier, freeze
from sweeper.training.unfreezing import build_unfreezing
from tests.training.learnable import comparable, run, spec_of

MEAN = (0.5, 0.5, 0.5)


def classifier(trainable: Any = "all") -> Classifier:
    backbone = timm.create_model("resnet10t", num_classes=0)
    network = Classifier(backbone, nn.Linear(512, 3), MEAN, MEAN)
    freeze(network, trainable)
    return network


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), momentum=0.9)


def learning(network: nn.Module) -> set[str]:
    return {".".join(name.split(".")[:2]) for name, p in network.named_parameters() if p.requires_grad}


def test_the_head_learns_alone_then_all_of_it() -> None:
    network = classifier()
    unfreezing = build_unfreezing(network, UnfreezingConfig(head_epochs=2), sgd(network))
    everything = learning(network)
    seen = []
    for epoch in (1, 2, 3, 4):
        changed = unfreezing.before_epoch(epoch)
        seen.append((changed, learning(network)))
    alone = {"head.weight", "head.bias"}
    assert seen == [(True, alone), (False, alone), (True, everything), (False, everything)]


def test_stages_follow_one_after_another_from_the_last_one() -> None:
    network = classifier()
    unfreezing = build_unfreezing(network, UnfreezingConfig(head_epochs=1, stage_epochs=2), sgd(network))
    layers = []
    for epoch in range(1, 9):
        unfreezing.before_epoch(epoch)
        layers.append({name for name in learning(network) if name.startswith("backbone.layer")})
    fourth, third = {"backbone.layer4"}, {"backbone.layer4", "backbone.layer3"}
    assert layers[:5] == [set(), fourth, fourth, third, third]
    assert layers[7] == {f"backbone.layer{number}" for number in (1, 2, 3, 4)}


def test_what_is_frozen_for_good_stays_so() -> None:
    network = classifier("last_stage")
    before = learning(network)
    unfreezing = build_unfreezing(network, UnfreezingConfig(head_epochs=1, stage_epochs=1), sgd(network))
    for epoch in range(1, 12):
        unfreezing.before_epoch(epoch)
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
