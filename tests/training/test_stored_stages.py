"""A last stage on the stored output of the stages before it: it learns what it would behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sweeper.config.hyperparameters import AugmentConfig
from sweeper.config.sweep import ObjectiveConfig
from sweeper.modeling.classifier import build_classifier
from sweeper.paths import TrialFolder
from sweeper.results import EpochMetrics, TrialState
from sweeper.training.conditions import Conditions
from sweeper.training.features import FeatureMaker
from sweeper.training.learner import build_learner
from sweeper.training.micro_batch import Limits
from sweeper.training.ranks import Ranks
from sweeper.training.stack.fused import stack_key
from sweeper.training.trainer import train
from tests.training.learnable import CPU, colored, comparable
from tests.training.test_features import Killed, frozen_features, head_trial, run
from tests.training.test_fused import alone, fuse, members, same


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"drop_rate": 0.4, "head": {"hidden": [8], "norm": "batch", "dropout": 0.3}},
        {"ema": 0.9, "layer_decay": 0.7, "optimizer": {"name": "sgd", "lr": 0.1}},
        {"unfreezing": {"head_epochs": 2}},
        {"epoch_soup": 2, "optimizer": {"name": "schedule_free_adamw", "lr": 0.01}},
        {"test_time_augmentation": "flip"},
    ],
    ids=["plain", "dropout", "average", "waiting", "soup", "mirrored"],
)
def test_a_last_stage_on_features_learns_as_behind_the_stages_before(
    tmp_path: Path, weights: str, changes: dict[str, Any]
) -> None:
    spec = head_trial(weights, trainable="last_stage", epochs=4, **changes)
    through, expected = run(spec, tmp_path / "images", None)
    on_features, found = run(spec, tmp_path / "features", frozen_features(tmp_path, last_stage=True))
    assert (through.on_features, on_features.on_features) == (False, True)
    for left, right in zip(comparable(found), comparable(expected), strict=True):
        assert left == pytest.approx(right, rel=1e-3, abs=1e-5)
    whole, written = (load_file(next((tmp_path / name).glob("artifacts/weights/*"))) for name in ("images", "features"))
    assert list(written) == list(whole)
    begun = build_classifier(spec.config, 3).state_dict()
    for name in whole:
        torch.testing.assert_close(written[name], whole[name], rtol=1e-3, atol=1e-4)
        if name.startswith("backbone.") and "num_batches" not in name:
            assert torch.equal(written[name], begun[name]) == (not name.startswith("backbone.layer4"))


def test_features_of_backbones_and_of_their_first_stages_are_apart(tmp_path: Path, weights: str) -> None:
    features = frozen_features(tmp_path, last_stage=True)
    for number, trainable in enumerate(("head", "last_stage", "head")):
        run(head_trial(weights, trainable=trainable, epochs=1), tmp_path / f"{number}", features)
    shapes = sorted(np.load(path).shape for path in (tmp_path / "features").glob("*.npy"))
    assert len(shapes) == 4
    assert len({width for _, width in shapes}) == 2


def test_weights_of_a_last_stage_change_nothing_of_what_is_stored_for_it(tmp_path: Path, weights: str) -> None:
    def key(changed: str) -> str:
        other = load_file(weights)
        other[changed] += 0.1
        save_file(other, tmp_path / f"{changed}.safetensors")
        spec = head_trial(str(tmp_path / f"{changed}.safetensors"), trainable="last_stage")
        frozen = frozen_features(tmp_path, last_stage=True).backbone(spec.config)
        return FeatureMaker(frozen, colored().train, AugmentConfig(), CPU, Limits(), None).key(0).name

    assert key("layer4.0.conv1.weight") == key("layer4.0.conv2.weight") != key("layer3.0.conv1.weight")


def test_batch_normalisation_on_features_is_synchronised_like_any(
    tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm
    monkeypatch.setattr(Ranks, "synchronized", lambda self, network, device: converted(network))
    for trainable in ("head", "last_stage"):
        spec = head_trial(weights, trainable=trainable, head={"hidden": [4], "norm": "batch"})
        features = frozen_features(tmp_path, last_stage=True)
        network = build_learner(spec, colored(train=70), CPU, features=features).inputs.network
        kinds = [type(module) for module in network.modules() if "BatchNorm" in type(module).__name__]
        assert set(kinds) == {torch.nn.SyncBatchNorm}, trainable
        shared = features.backbone(spec.config).backbone.module
        assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in shared.modules())


def test_what_fits_in_memory_is_remembered_for_a_last_stage_on_features(tmp_path: Path, weights: str) -> None:
    limits, features = tmp_path / "limits.json", frozen_features(tmp_path, last_stage=True)
    learner = build_learner(head_trial(weights, trainable="last_stage"), colored(), CPU, limits, features)
    assert learner.limits_file == tmp_path / "limits-on-features.json"
    assert build_learner(head_trial(weights), colored(), CPU, limits, features).limits_file is None


def test_a_last_stage_is_trained_alone_where_heads_are_trained_together(weights: str) -> None:
    assert stack_key(head_trial(weights).config) is not None
    assert stack_key(head_trial(weights, trainable="last_stage").config) is None


def test_a_stack_with_a_trial_that_began_on_images_goes_on_one_by_one(tmp_path: Path, weights: str) -> None:
    def die(metrics: EpochMetrics) -> bool:
        raise Killed

    data, features = colored(train=70), frozen_features(tmp_path)
    specs = members(weights, {}, {"optimizer": {"name": "adamw", "lr": 0.01}}, {})
    with pytest.raises(Killed):
        train(specs[1], TrialFolder(tmp_path / "fused" / "1"), Conditions(data, ObjectiveConfig(), None, CPU), die)
    outcomes, histories = fuse(specs, tmp_path / "fused", data, features)
    for number, spec in enumerate(specs):
        _, history = alone(spec, tmp_path / f"alone-{number}", data, None if number == 1 else features)
        assert (outcomes[number].state, outcomes[number].on_features) == (TrialState.COMPLETE, number != 1)
        assert same(histories[number], history)
