from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from sweeper.scores.intervals import accuracy_interval, f1_interval
from sweeper.scores.metrics import scores


@pytest.mark.parametrize(("right", "wrong"), [(71, 10), (0, 5), (5, 0), (1, 0), (9_000, 1_000)])
def test_the_interval_of_an_accuracy_is_that_of_wilson(right: int, wrong: int) -> None:
    confusion = np.array([[right, 0], [wrong, 0]])
    known = binomtest(right, right + wrong).proportion_ci(0.95, method="wilson")
    assert accuracy_interval(confusion) == pytest.approx((known.low, known.high), abs=1e-9)


def test_the_interval_of_macro_f1_holds_as_many_scores_of_new_images_as_it_says() -> None:
    shares, dice = np.array([[0.4, 0.05, 0.02], [0.06, 0.25, 0.02], [0.02, 0.03, 0.15]]), np.random.default_rng(1)
    truth = scores((shares * 100).round().astype(np.int64)).f1
    drawn = dice.multinomial(400, shares.ravel(), size=60).reshape(-1, 3, 3)
    held = sum(low <= truth <= high for low, high in map(f1_interval, drawn))
    assert held >= 52  # of 60, where 57 are expected


def test_the_interval_of_macro_f1_is_always_the_same_and_around_the_score() -> None:
    confusion = np.array([[40, 5, 0, 0], [3, 30, 2, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    low, high = f1_interval(confusion)
    assert (low, high) == f1_interval(confusion)
    assert low < scores(confusion).f1 < high


@pytest.mark.parametrize("images", [20, 60, 200])
def test_where_no_image_has_a_wrong_label_others_still_may(images: int) -> None:
    confusion = np.diag([images // 2, images // 2])
    low, high = f1_interval(confusion)
    assert high == 1.0
    assert low == pytest.approx(accuracy_interval(confusion)[0], abs=0.03)
