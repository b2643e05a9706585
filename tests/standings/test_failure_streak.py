"""When failures stop a study that goes on after an interruption."""

from __future__ import annotations

from sweeper.results import TrialOutcome, TrialRow, TrialState
from sweeper.standings.failure_streak import FailureStreak

FAILED = TrialOutcome(state=TrialState.FAILED, reason="RuntimeError: the disk is on fire")
HOUR_MS = 3_600_000


def row(number: int, outcome: TrialOutcome, ended_ms: int) -> TrialRow:
    return TrialRow(
        number=number,
        state=outcome.state,
        value=outcome.best_value,
        best_epoch=None,
        epochs=0,
        seconds=1.0,
        ended_ms=ended_ms,
        params={},
        config_json=None,
        reason=outcome.reason,
        outcome=outcome,
    )


def finished() -> TrialOutcome:
    return TrialOutcome(state=TrialState.COMPLETE, best_epoch=1, best_value=0.5, epochs=1)


def test_a_success_ends_a_streak_of_earlier_trials_whose_times_are_later_since_the_clock_was_set_back() -> None:
    streak = FailureStreak(3)
    streak.recall([row(0, FAILED, 2 * HOUR_MS), row(1, FAILED, 2 * HOUR_MS + 1), row(2, finished(), HOUR_MS)])
    assert not streak.count(FAILED)


def test_failures_after_a_success_count_though_the_clock_was_set_back_before_them() -> None:
    streak = FailureStreak(3)
    streak.recall([row(0, finished(), 2 * HOUR_MS), row(1, FAILED, HOUR_MS), row(2, FAILED, HOUR_MS + 1)])
    assert streak.count(FAILED)


def test_the_order_in_which_rows_come_does_not_matter() -> None:
    streak = FailureStreak(3)
    streak.recall([row(2, FAILED, 1), row(0, finished(), 3), row(1, FAILED, 2)])
    assert streak.count(FAILED)
