"""A trial that goes on from another one: from its weights, its optimizer, its count of epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from sweeper.config.sweep import FeaturesConfig, ObjectiveConfig
from sweeper.data.feature_cache import FeatureCache
from sweeper.paths import TrialFolder
from sweeper.results import TrialSpec, TrialStart, TrialState
from sweeper.training.features import FrozenFeatures
from tests.training.learnable import CPU, colored, comparable, run, spec_of
from tests.training.test_trainer import Killed

LOSS: dict[str, Any] = {"objective": ObjectiveConfig.model_validate({"metric": "val/loss"})}
CONSTANT: dict[str, Any] = {"scheduler": {"name": "constant"}, "optimizer": {"name": "adam", "lr": 0.003}}


def trial(epochs: int, start: TrialStart | None = None, **changes: Any) -> TrialSpec:
    spec = spec_of(epochs=epochs, **{**CONSTANT, **changes})
    return spec.model_copy(update={"start": start, "keep_optimizer": True})


def start_of(folder: Path, epochs: int, *, optimizer: bool) -> tuple[TrialStart, str]:
    """Return what goes on from the last epoch of a trial, which was its best, and its weights."""
    files = TrialFolder(folder)
    weights, state = files.weights_of(epochs), files.optimizer_of(epochs)
    assert sorted(files.weights.iterdir()) == sorted([weights, state])
    return TrialStart(epochs=epochs, weights=str(weights), optimizer=str(state) if optimizer else None), str(weights)


@pytest.mark.parametrize("head_epochs", [0, 1, 2, 3])
def test_with_the_optimizer_and_nothing_changed_it_is_the_trial_that_never_stopped(
    tmp_path: Path, head_epochs: int
) -> None:
    unfreezing: dict[str, Any] = {"unfreezing": {"head_epochs": head_epochs}}
    _, whole = run(trial(4, **unfreezing), tmp_path / "whole", **LOSS)
    run(trial(2, **unfreezing), tmp_path / "source", **LOSS)
    start, weights = start_of(tmp_path / "source", 2, optimizer=True)
    outcome, continued = run(trial(4, start, pretrained=weights, **unfreezing), tmp_path / "more", **LOSS)
    assert [point.epoch for point in continued] == [3, 4]
    assert comparable(continued) == comparable(whole[2:])
    assert (outcome.epochs, outcome.best_epoch) == (4, 4)
    bare, weights = start_of(tmp_path / "source", 2, optimizer=False)
    _, without = run(trial(4, bare, pretrained=weights, **unfreezing), tmp_path / "without", **LOSS)
    assert comparable(without) != comparable(continued)


@pytest.mark.parametrize("anew", [False, True])
def test_training_images_grow_again_only_where_that_is_set_anew(tmp_path: Path, anew: bool) -> None:
    data = colored(size=16)
    small: dict[str, Any] = {"image_size": 16, "progressive_resizing": 0.5}
    run(trial(2, image_size=16), tmp_path / "source", data, **LOSS)
    start, weights = start_of(tmp_path / "source", 2, optimizer=False)
    own = start.model_copy(update={"resizing": anew})
    _, growing = run(trial(5, own, pretrained=weights, **small), tmp_path / "growing", data, **LOSS)
    _, whole = run(trial(5, start, pretrained=weights, image_size=16), tmp_path / "whole", data, **LOSS)
    assert (comparable(growing) == comparable(whole)) is not anew


def test_it_begins_with_the_weights_that_it_goes_on_from_whatever_is_set_anew(tmp_path: Path) -> None:
    _, source = run(trial(2), tmp_path / "source", **LOSS)
    start, weights = start_of(tmp_path / "source", 2, optimizer=False)
    still: dict[str, Any] = {
        "optimizer": {"name": "sgd", "lr": 1e-12},
        "class_balance": {"loss": "focal"},
        "augment": {"flip": True},
    }
    _, again = run(trial(3, start, pretrained=weights, trainable="head", **still), tmp_path / "still", **LOSS)
    assert again[0].values["val/loss"] == pytest.approx(source[1].values["val/loss"], rel=1e-5)


def test_heads_on_features_go_on_likewise(tmp_path: Path) -> None:
    torch.manual_seed(3)
    weights = str(tmp_path / "backbone.safetensors")
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    features = FrozenFeatures(FeatureCache(tmp_path / "features"), FeaturesConfig(views=1), CPU)
    head: dict[str, Any] = {"trainable": "head", "head": {"hidden": [8]}}
    _, whole = run(trial(3, pretrained=weights, **head), tmp_path / "whole", features=features, **LOSS)
    run(trial(2, pretrained=weights, **head), tmp_path / "source", features=features, **LOSS)
    start, own = start_of(tmp_path / "source", 2, optimizer=True)
    outcome, more = run(trial(3, start, pretrained=own, **head), tmp_path / "more", features=features, **LOSS)
    assert outcome.on_features
    assert comparable(more) == comparable(whole[2:])


def test_killed_after_an_epoch_it_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    run(trial(2), tmp_path / "source", **LOSS)
    start, weights = start_of(tmp_path / "source", 2, optimizer=True)
    spec = trial(5, start, pretrained=weights, scheduler="cosine")
    _, whole = run(spec, tmp_path / "whole", **LOSS)

    def die(metrics: Any) -> bool:
        raise Killed

    with pytest.raises(Killed):
        run(spec, tmp_path / "broken", on_epoch=die, **LOSS)
    outcome, resumed = run(spec, tmp_path / "broken", **LOSS)
    assert comparable(resumed) == comparable(whole)
    assert [point.epoch for point in resumed] == [3, 4, 5]
    assert whole[0].values["lr"] == pytest.approx(0.003, rel=0.5)  # the schedule is that of the epochs to come
    assert load_file(TrialFolder(tmp_path / "broken").weights_of(outcome.best_epoch or 0))


def test_patience_counts_from_where_it_began(tmp_path: Path) -> None:
    run(trial(3), tmp_path / "source", **LOSS)
    start, weights = start_of(tmp_path / "source", 3, optimizer=False)
    still: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 1e-12}, "trainable": "head"}
    outcome, history = run(trial(9, start, pretrained=weights, **still), tmp_path / "more", patience=2, **LOSS)
    assert [point.epoch for point in history][:2] == [4, 5]
    assert len(history) < 6
    assert outcome.state is TrialState.COMPLETE


def test_what_does_not_fit_fails_the_trial_with_the_reason(tmp_path: Path) -> None:
    run(trial(1), tmp_path / "source", **LOSS)
    start, weights = start_of(tmp_path / "source", 1, optimizer=True)
    outcome, _ = run(trial(2, start, pretrained=weights), tmp_path / "classes", colored(classes=2), **LOSS)
    assert (outcome.state, "the classes must be those" in (outcome.reason or "")) == (TrialState.FAILED, True)
    other = trial(2, start, pretrained=weights, trainable="head")
    outcome, _ = run(other, tmp_path / "groups", **LOSS)
    assert (outcome.state, "continue without it" in (outcome.reason or "")) == (TrialState.FAILED, True)
