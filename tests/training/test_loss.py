"""The loss against what torch computes, the weights against their papers' formulas, and a trial that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from sweeper.config.hyperparameters import ClassBalanceConfig
from sweeper.data.batches import Batch
from sweeper.data.sampling import class_shares
from sweeper.training.loss import Loss, class_weights
from tests.training.learnable import comparable, run, spec_of, squares
from tests.training.test_trainer import Killed

COUNTS = np.array([200, 20, 5])


def batch(count: int = 12) -> tuple[torch.Tensor, Batch]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 3, generator=random) * 3
    labels = torch.arange(count) % 3
    return logits, Batch(torch.empty(count, 0), labels, labels.roll(1), torch.rand(count, generator=random))


def weights_of(**balance: Any) -> np.ndarray[Any, Any]:
    weights = class_weights(ClassBalanceConfig.model_validate(balance), COUNTS)
    assert weights is not None
    return weights


def test_weighted_cross_entropy_is_torchs_before_it_is_averaged() -> None:
    logits, images = batch()
    weights = torch.tensor([0.5, 1.0, 4.0])
    plain = Batch(images.inputs, images.labels)
    expected = functional.cross_entropy(logits, images.labels, weight=weights, reduction="none")
    torch.testing.assert_close(Loss(class_weights=weights)(logits, plain), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_hard_labels_is_its_papers_formula(gamma: float) -> None:
    logits, images = batch()
    p = logits.softmax(1)[torch.arange(12), images.labels]
    found = Loss(gamma=gamma)(logits, Batch(images.inputs, images.labels))
    torch.testing.assert_close(found, -((1 - p) ** gamma) * p.log())


def test_focal_loss_without_gamma_is_cross_entropy_with_smoothing_and_mixing() -> None:
    logits, images = batch()
    torch.testing.assert_close(Loss(0.2, gamma=1e-9)(logits, images), Loss(0.2)(logits, images))


@pytest.mark.parametrize("gamma", [0.1, 0.5, 3.0])
def test_gradients_stay_finite_where_a_class_is_certain(gamma: float) -> None:
    logits = torch.tensor([[80.0, -80.0, 0.0], [0.0, 90.0, -90.0]], requires_grad=True)
    Loss(0.1, gamma)(logits, Batch(torch.empty(2, 0), torch.tensor([0, 0]))).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@given(
    sampling=st.floats(0, 1),
    weights=st.sampled_from(["inverse", {"name": "effective_number", "beta": 0.99}]),
)
def test_weights_have_the_mean_one_over_an_epoch_whatever_is_drawn(sampling: float, weights: Any) -> None:
    found = weights_of(sampling=sampling, weights=weights)
    assert (class_shares(COUNTS, sampling) * found).sum() == pytest.approx(1)


def test_weights_are_those_of_their_formulas() -> None:
    inverse = weights_of(weights="inverse")
    assert inverse / inverse[0] == pytest.approx(COUNTS[0] / COUNTS)
    effective = weights_of(weights={"name": "effective_number", "beta": 0.99})
    number = (1 - 0.99**COUNTS) / (1 - 0.99)
    assert effective / effective[0] == pytest.approx(number[0] / number)


def test_sampling_and_weights_never_correct_twice() -> None:
    for sampling in (0.0, 0.3, 1.0):
        emphasis = class_shares(COUNTS, sampling) * weights_of(sampling=sampling, weights="inverse")
        assert emphasis == pytest.approx(np.full(3, 1 / 3))


def test_a_class_without_training_images_has_no_weight() -> None:
    counts = np.array([5, 0, 3])
    found = class_weights(ClassBalanceConfig.model_validate({"weights": "inverse"}), counts)
    assert found is not None
    assert found[1] == 0
    assert np.isfinite(found).all()


RARE = squares(np.concatenate([np.repeat([0, 1, 2], [160, 8, 4]), np.arange(60) % 3]), train=172, classes=3, noise=110)
QUICK: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 0.005}, "epochs": 3}


@pytest.mark.parametrize(
    "balance", [{"sampling": 1.0}, {"weights": "inverse"}], ids=["balanced sampling", "inverse weights"]
)
def test_rare_classes_are_recalled_better_when_they_are_balanced(tmp_path: Path, balance: dict[str, Any]) -> None:
    natural, _ = run(spec_of(**QUICK), tmp_path / "natural", RARE)
    balanced, _ = run(spec_of(**QUICK, class_balance=balance), tmp_path / "balanced", RARE)
    assert balanced.best_metrics["val/recall"] > natural.best_metrics["val/recall"] + 0.15


def test_a_balanced_trial_that_was_killed_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    balance = {"sampling": 0.7, "weights": "effective_number", "loss": "focal"}
    spec = spec_of(epochs=3, class_balance=balance, augment={"mixup": 0.2})
    _, whole = run(spec, tmp_path / "whole", RARE)

    def die(metrics: Any) -> bool:
        raise Killed

    with pytest.raises(Killed):
        run(spec, tmp_path / "broken", RARE, on_epoch=die)
    _, resumed = run(spec, tmp_path / "broken", RARE)
    assert comparable(resumed) == comparable(whole)


def test_validation_loss_is_the_plain_one_of_every_trial(tmp_path: Path) -> None:
    still: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 1e-12}, "epochs": 1, "trainable": "head"}
    _, natural = run(spec_of(**still), tmp_path / "natural", RARE)
    _, weighted = run(spec_of(**still, class_balance={"weights": "inverse"}), tmp_path / "weighted", RARE)
    assert weighted[0].values["val/loss"] == natural[0].values["val/loss"]
    assert weighted[0].values["train/loss"] != natural[0].values["train/loss"]
