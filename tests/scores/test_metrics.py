"""Metrics agree with scikit-learn, and say what they do in corner cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, top_k_accuracy_score

from sweeper.scores.metrics import ClassificationMetrics, scores


def matrices(classes: int):
    counts = arrays(np.int64, (classes, classes), elements=st.integers(0, 4))
    return counts.filter(lambda counts: counts.sum() > 0)


def samples(confusion) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and predicted classes that a confusion matrix counts."""
    true, predicted = np.indices(confusion.shape).reshape(2, -1)
    return np.repeat(true, confusion.ravel()), np.repeat(predicted, confusion.ravel())


def counted(logits, labels, losses=None) -> ClassificationMetrics:
    metrics = ClassificationMetrics(logits.shape[1], "cpu")
    metrics.update(logits, labels, torch.zeros(len(labels)) if losses is None else losses)
    return metrics


@given(st.integers(1, 6).flatmap(matrices))
def test_scores_equal_scikit_learns(confusion):
    true, predicted = samples(confusion)
    found = scores(confusion)
    macro = precision_recall_fscore_support(true, predicted, average="macro", zero_division=0)
    assert (found.precision, found.recall, found.f1) == pytest.approx(macro[:3], abs=1e-6)
    assert found.accuracy == pytest.approx(accuracy_score(true, predicted), abs=1e-6)


@given(st.integers(2, 6).flatmap(matrices))
def test_scores_of_each_class_equal_scikit_learns(confusion):
    true, predicted = samples(confusion)
    expected = precision_recall_fscore_support(true, predicted, labels=range(len(confusion)), zero_division=0)
    found = scores(confusion)
    for mine, theirs in zip(
        (found.class_precision, found.class_recall, found.class_f1, found.class_support), expected, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@given(seed=st.integers(0, 1000), classes=st.integers(6, 20), batch=st.integers(1, 40))
def test_metrics_of_logits_equal_scikit_learns(seed, classes, batch):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3 * batch, classes, generator=generator)
    labels = torch.randint(classes, (3 * batch,), generator=generator)
    losses = torch.rand(3 * batch, generator=generator)
    metrics = ClassificationMetrics(classes, "cpu")
    for part in range(3):
        chosen = slice(part * batch, (part + 1) * batch)
        metrics.update(logits[chosen], labels[chosen], losses[chosen])
    found, predicted = metrics.compute(), logits.argmax(1)
    macro = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(macro[:3], abs=1e-6)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-6)
    top = top_k_accuracy_score(labels, logits, k=5, labels=range(classes))
    assert found["top5_accuracy"] == pytest.approx(top, abs=1e-6)
    assert found["loss"] == pytest.approx(float(losses.double().mean()), abs=1e-6)


def test_rows_are_true_and_columns_predicted():
    metrics = counted(torch.eye(3)[[0, 2, 2]], torch.tensor([0, 1, 1]))
    assert metrics.compute_all()[1].tolist() == [[1, 0, 0], [0, 0, 2], [0, 0, 0]]
    assert metrics.compute_all()[1].dtype == np.int64


def test_of_equal_scores_the_lower_class_wins():
    metrics = counted(torch.zeros(8, 8), torch.arange(8))
    assert metrics.compute_all()[1][:, 0].tolist() == [1] * 8
    assert metrics.compute()["top5_accuracy"] == 5 / 8


def test_nan_stands_below_every_number():
    nan = float("nan")
    metrics = counted(torch.tensor([[nan, -5.0, -6.0], [nan, nan, nan]]), torch.tensor([1, 2]))
    assert metrics.compute_all()[1].tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_with_five_classes_or_fewer_every_sample_is_in_the_top():
    assert counted(torch.randn(10, 5), torch.arange(10) % 5).compute()["top5_accuracy"] == 1.0


def test_many_small_losses_lose_no_precision():
    metrics = ClassificationMetrics(2, "cpu")
    for _ in range(1000):
        metrics.update(torch.zeros(1000, 2), torch.zeros(1000, dtype=torch.int64), torch.full((1000,), 0.1))
    assert metrics.compute()["loss"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-9)


def test_updating_keeps_no_graph():
    logits = torch.zeros(2, 2, requires_grad=True)
    metrics = counted(logits, torch.tensor([0, 1]), logits.sum(1))
    assert not metrics._loss.requires_grad


def test_nothing_counted_has_no_scores():
    with pytest.raises(ValueError, match="without a single sample"):
        ClassificationMetrics(3, "cpu").compute()


@pytest.mark.gpu
def test_updating_on_a_gpu_never_waits_for_it():
    logits, labels = torch.randn(64, 10, device="cuda"), torch.randint(10, (64,), device="cuda")
    metrics = ClassificationMetrics(10, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        metrics.update(logits, labels, torch.ones(64, device="cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert metrics.compute_all()[1].sum() == 64
