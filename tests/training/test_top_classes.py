"""The top classes of an image agree with the confusion matrix, also where scores are equal, and survive their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.errors import StudyError
from sweeper.scores.predictions import MOST_CLASSES, Predictions, image_ids, read_predictions, write_predictions
from sweeper.training.top_classes import TopClasses


@settings(max_examples=40, deadline=None)
@given(classes=st.integers(2, 14), seed=st.integers(0, 99), levels=st.integers(1, 5))
def test_the_first_class_is_the_lower_of_equal_ones_and_no_class_comes_twice(
    classes: int, seed: int, levels: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(levels, (6, classes), generator=generator).float()  # few levels: many are equal
    labels = torch.randint(classes, (6,), generator=generator)
    top = TopClasses.of(logits, labels)
    assert top.classes[:, 0].tolist() == logits.argmax(1).tolist()
    if classes <= MOST_CLASSES:
        assert all(len(set(row)) == classes for row in top.classes.tolist())
    assert torch.allclose(top.true, logits.softmax(1)[torch.arange(6), labels])


def test_a_stack_of_networks_has_the_top_classes_of_each(tmp_path: Path) -> None:
    logits, labels = torch.randn(3, 5, 12), torch.randint(12, (3, 5))
    stack, alone = TopClasses.of(logits, labels).member(1), TopClasses.of(logits[1], labels[1])
    assert torch.equal(stack.classes, alone.classes)
    assert torch.equal(stack.true, alone.true)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 30), classes=st.integers(2, 300), seed=st.integers(0, 99))
def test_predictions_come_back_from_their_file_to_three_digits(
    tmp_path: Path, count: int, classes: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    order = random.permuted(np.tile(np.arange(classes), (count, 1)), axis=1)[:, :MOST_CLASSES]
    shares = random.dirichlet(np.ones(order.shape[1]), count).astype(np.float32).reshape(order.shape)
    labels = random.integers(classes, size=count)
    written = Predictions(image_ids(map(str, range(count))), labels, order, shares, random.random(count, np.float32))
    write_predictions(tmp_path / "p.npz", written)
    read = read_predictions(tmp_path / "p.npz")
    assert np.array_equal(read.images, written.images)
    assert np.array_equal(read.confusion(classes), written.confusion(classes))
    assert np.allclose(read.probabilities, written.probabilities, atol=5e-4)


def test_a_damaged_file_of_predictions_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(StudyError, match=r"p\.npz holds no predictions"):
        read_predictions(tmp_path / "p.npz")
