"""What the best of many trials reaches on new images is estimated without the luck of having been chosen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from sweeper.scores import expected_accuracy as module_under_test
from sweeper.scores.expected_accuracy import FEWEST, expected_accuracy


def trials_of(accuracies: list[float], images: int, seed: int, epochs: int = 1) -> list[np.ndarray]:
    """Return trials that are right by chance alone, each with its own accuracy."""
    dice = np.random.default_rng(seed)
    return [dice.random((epochs, images)) < accuracy for accuracy in accuracies]


def test_of_images_that_are_right_by_luck_alone_no_less_than_none_is_expected() -> None:
    each_another_one = [row[np.newaxis] > 0 for row in np.eye(100)[:40]]
    found = expected_accuracy(each_another_one)
    assert found is not None
    assert 0 <= found.low <= found.accuracy <= found.high <= 1


def test_the_best_of_equal_trials_is_expected_to_reach_what_they_all_reach() -> None:
    """Forty trials of 0.6: the luckiest seems far better, which is all luck."""
    found = [expected_accuracy(trials_of([0.6] * 40, 500, seed)) for seed in range(20)]
    measured = [each.measured for each in found if each is not None]
    values = [each.accuracy for each in found if each is not None]
    assert np.mean(measured) > 0.64
    assert np.mean(values) == pytest.approx(0.6, abs=0.01)
    assert sum(each.low <= 0.6 <= each.high for each in found if each is not None) >= 18


def test_a_trial_that_is_far_ahead_keeps_its_accuracy() -> None:
    found = expected_accuracy(trials_of([0.5] * 20 + [0.8], 2000, seed=1))
    assert found is not None
    assert found.accuracy == pytest.approx(found.measured, abs=0.002)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 2000), rel=0.15)


def test_all_epochs_of_a_trial_count_as_chosen_from() -> None:
    lucky = expected_accuracy(trials_of([0.6], 500, seed=2, epochs=40))
    assert lucky is not None
    assert lucky.measured > lucky.accuracy + 0.02
    assert lucky.trials == 1


def test_what_is_out_of_reach_changes_nothing_and_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of([0.7, 0.69, 0.2, 0.1], 300, seed=3)
    found = expected_accuracy(trials)
    assert len(module_under_test._within_reach(np.concatenate(trials))) == 2
    monkeypatch.setattr(module_under_test, "OUT_OF_REACH", np.inf)
    assert expected_accuracy(trials) == found


def test_the_number_of_draws_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of([0.7, 0.69], 300, seed=3)
    found = expected_accuracy(trials)
    monkeypatch.setattr(module_under_test, "AT_ONCE", 300 * 7)
    again = expected_accuracy(trials)
    assert found is not None
    assert again is not None
    assert (again.accuracy, again.low) == pytest.approx((found.accuracy, found.low), abs=1e-3)


def test_too_few_images_and_no_trials_say_nothing() -> None:
    assert expected_accuracy([]) is None
    assert expected_accuracy(trials_of([0.5], FEWEST - 1, seed=0)) is None
    assert expected_accuracy(trials_of([0.5], FEWEST, seed=0)) is not None


def test_a_trial_that_has_everything_right_is_no_error() -> None:
    found = expected_accuracy([np.ones((3, 50), bool)])
    assert found is not None
    assert (found.accuracy, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(binomtest(50, 50).proportion_ci(0.95, method="wilson").low)


def test_another_objective_than_the_accuracy_is_named_beside_the_estimate() -> None:
    found = expected_accuracy([np.ones((3, 50), bool)])
    assert found is not None
    assert "on the 50 images that chose it" in str(found)
    by_f1 = str(found.model_copy(update={"chosen_by": "val/f1"}))
    assert "that chose it" not in by_f1
    assert by_f1.endswith("this study chooses by val/f1, and its winner may be less accurate")
