"""What a trial says about the validation images."""

from __future__ import annotations

import numpy as np

from sweeper.scores.predictions import Predictions


def test_the_likeliest_class_alone_says_the_same_and_shares_what_is_the_same() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(6), 40).astype(np.float32)
    labels = random.integers(0, 6, 40)
    order = np.argsort(-probabilities, axis=1)
    whole = Predictions(
        np.arange(40, dtype=np.uint64), labels, order, np.take_along_axis(probabilities, order, 1), probabilities[:, 0]
    )
    first, second = whole.best_alone(), whole.best_alone(whole)
    assert np.array_equal(first.confusion(6), whole.confusion(6))
    assert np.array_equal(first.right, whole.right)
    assert first.probabilities.shape == (40, 1)
    assert second.images is whole.images
    assert second.labels is whole.labels
    assert second.classes.base is None
