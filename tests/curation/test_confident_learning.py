from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweeper.curation.confident_learning import suspects


def test_an_image_that_another_class_is_sure_of_is_suspect_with_that_class() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    sure = np.array([0.9, 0.8, 0.1, 0.1, 0.2, 0.85])  # of class 0
    found = suspects(np.stack([sure, 1 - sure], axis=1), labels)
    assert found.rows.tolist() == [2, 5]
    assert found.suggested.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.85])


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(2, 5))
def test_nobody_is_suspect_whose_label_is_the_most_probable(seed: int, images: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), images)
    labels = random.integers(0, classes, images)
    found = suspects(probabilities, labels)
    right = np.flatnonzero(probabilities.argmax(axis=1) == labels)
    assert not set(found.rows.tolist()) & set(right.tolist())
    assert (found.suggested != labels[found.rows]).all()
    assert np.isin(found.suggested, labels).all()
    assert (np.diff(found.scores) <= 0).all()


def test_a_class_that_no_network_has_learned_from_others_is_not_judged() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    probabilities = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.1, 0.9, 0], [0.9, 0.1, 0], [0.9, 0.1, 0]])
    known = np.array([True, True, True, True, False])
    assert 4 in suspects(probabilities, labels).rows
    assert suspects(probabilities, labels, known).rows.tolist() == [3]
