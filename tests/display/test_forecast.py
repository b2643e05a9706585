"""The time left: by the trials that have ended, and where trials pause by the epochs that all of them will have."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.config.pruner import PromoteConfig, epochs_expected
from sweeper.config.sweep import SweepConfig
from sweeper.display.forecast import Forecast
from sweeper.results import TrialOutcome, TrialState


def forecast(pruner: Any, trials: int = 10) -> Forecast:
    space = {"study": "s", "dataset": {"path": "x"}, "search": {"backbone": "b"}}
    sweep = SweepConfig.model_validate({**space, "budget": {"trials": trials, "epochs": 10}, "pruner": pruner})
    return Forecast([], trials, sweep)


def outcome(state: TrialState, epochs: int, seconds: float) -> TrialOutcome:
    return TrialOutcome(state=state, epochs=epochs, seconds=seconds, best_epoch=1, best_value=0.5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 1 + 0.3 * 9), ({"keep": 0.5, "rungs": [2, 4]}, 2 + 0.5 * 2 + 0.25 * 6), ({"rungs": [20]}, 10)],
)
def test_of_trials_that_pause_the_expected_epochs_follow_from_the_rungs(
    settings: dict[str, Any], expected: float
) -> None:
    config = PromoteConfig.model_validate({"name": "promote", **settings})
    assert epochs_expected(config, 10) == pytest.approx(expected)


def test_where_trials_pause_those_to_come_have_the_expected_epochs() -> None:
    found = forecast({"name": "promote", "keep": 0.3, "rungs": [1]})
    assert found.seconds_left is None
    found.trial_started(0)
    found.trial_ended(0, outcome(TrialState.COMPLETE, 10, 100.0))
    assert found.seconds_left == pytest.approx(9 * 3.7 * 10)
    found.trial_started(1)
    found.trial_paused(1, outcome(TrialState.PAUSED, 1, 54.0))
    found.trial_paused(1, outcome(TrialState.PAUSED, 1, 54.0))  # told again
    assert found.seconds_left == pytest.approx(8 * 3.7 * (154 / 11))
    found.trial_started(1)
    assert found.seconds_left == pytest.approx(9 * 3.7 * (154 / 11))
    found.trial_ended(1, outcome(TrialState.COMPLETE, 10, 200.0))  # with what it had before its pause
    assert found.seconds_left == pytest.approx(8 * 3.7 * (300 / 20))
    found.trial_ended(2, outcome(TrialState.FAILED, 0, 0.0))
    assert found.seconds_left == pytest.approx(7 * 3.7 * (300 / 20))


def test_no_time_is_left_once_none_runs_or_begins_and_some_while_one_goes_on() -> None:
    found = forecast({"name": "promote", "keep": 0.3, "rungs": [1]}, trials=2)
    for number in (0, 1):
        found.trial_started(number)
        found.trial_paused(number, outcome(TrialState.PAUSED, 1, 10.0))
    assert found.seconds_left == 0
    found.trial_started(1)
    assert found.seconds_left == pytest.approx(3.7 * 10 / 1)


def test_trials_at_the_same_time_share_the_time_left() -> None:
    found = forecast("none")
    for number in (0, 1):
        found.trial_started(number)
    found.trial_ended(0, outcome(TrialState.COMPLETE, 10, 100.0))
    assert found.seconds_left == pytest.approx(9 * 100 / 2)


def test_trials_that_train_together_each_have_their_share_of_the_seconds() -> None:
    space = {"study": "s", "dataset": {"path": "x"}, "search": {"backbone": "b"}, "features": {"fuse": 8}}
    budget = {"trials": 40, "epochs": 10}
    found = Forecast([], 40, SweepConfig.model_validate({**space, "budget": budget, "pruner": "none"}))
    for number in range(8):
        found.trial_started(number)
    for number in range(8):
        found.trial_ended(number, outcome(TrialState.COMPLETE, 10, 10.0))
    assert found.seconds_left == pytest.approx(320)
