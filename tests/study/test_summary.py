"""The summary follows the trials, without costing more than a small share of the time."""

from __future__ import annotations

from sweeper.study.summary import SHARE, SummaryClock


class Time:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_summary_is_due_after_a_trial_and_again_only_when_its_last_writing_has_become_a_small_share() -> None:
    time = Time()
    clock = SummaryClock(time)

    def write_for_a_second() -> None:
        time.now += 1.0

    assert not clock.due()
    clock.trial_ended()
    assert clock.due()
    clock.write(write_for_a_second)
    clock.trial_ended()
    time.now += 0.9 / SHARE
    assert not clock.due()
    time.now += 0.2 / SHARE
    assert clock.due()


def test_without_a_trial_that_ended_no_summary_is_due() -> None:
    time = Time()
    clock = SummaryClock(time)
    clock.trial_ended()
    clock.write(lambda: None)
    time.now += 1000
    assert not clock.due()
