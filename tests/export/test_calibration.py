from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.export.calibration import (
    HIGHEST,
    LOWEST,
    Labels,
    Logits,
    calibrate,
    calibration_error,
    crossed,
    fit_temperature,
)


def drawn(seed: int, images: int, sharpness: float = 1.0, classes: int = 6) -> tuple[Logits, Labels]:
    """Logits that are `sharpness` times those by which the labels were drawn."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (images, classes))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(1)  # as drawn from their softmax
    return sharpness * logits, labels


@settings(max_examples=20)
@given(st.integers(0, 99), st.floats(0.25, 4.0))
def test_the_temperature_undoes_how_much_too_sharp_logits_are(seed: int, sharpness: float) -> None:
    assert fit_temperature(*drawn(seed, 1000, sharpness)) == pytest.approx(sharpness, rel=0.2)


def test_calibration_lowers_the_error_of_an_overconfident_classifier_on_unseen_images() -> None:
    logits, labels = drawn(0, 2000, sharpness=3)
    found = calibrate(logits, labels)
    unseen = drawn(1, 2000, sharpness=3)
    at_fit = calibration_error(*unseen, np.full(2000, found.temperature))
    assert found.calibrated_ece < found.ece / 3
    assert at_fit == pytest.approx(found.calibrated_ece, abs=0.02)
    assert found.calibrated_loss < found.loss


@pytest.mark.parametrize("mistakes", [0, 4])
def test_a_split_with_hardly_a_mistake_says_nothing_about_the_temperature(mistakes: int) -> None:
    labels = np.arange(300) % 3
    logits = 5 * np.eye(3)[np.where(np.arange(300) < mistakes, (labels + 1) % 3, labels)]
    found = calibrate(logits, labels)
    assert found.temperature == 1.0
    assert found.reason is not None
    assert found.calibrated_ece == found.ece


def test_a_temperature_that_does_not_carry_over_to_the_other_half_is_not_kept() -> None:
    right, labels = drawn(3, 400, sharpness=1)
    alternating = np.where(np.arange(400)[:, None] % 2, right * 3, right / 3)
    assert (found := calibrate(alternating, labels)).temperature == 1.0
    assert "does not lower the loss" in str(found.reason)


def test_no_half_of_a_split_is_judged_by_its_own_temperature() -> None:
    logits, labels = drawn(4, 200)
    labels[::2] = logits[::2].argmax(1)
    halves = crossed(logits, labels)
    assert set(halves[1::2]) == {fit_temperature(logits[::2], labels[::2])}
    assert halves[1] == pytest.approx(LOWEST, rel=0.01)
    assert LOWEST < halves[0] < HIGHEST


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    logits = np.log(np.array([[0.8, 0.2]] * 10))
    labels = np.array([0] * 6 + [1] * 4)
    assert calibration_error(logits, labels, np.ones(10)) == pytest.approx(0.2)
