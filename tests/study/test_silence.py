"""A worker that says nothing for long is reported, and given up where a limit says so."""

from __future__ import annotations

import pytest

from sweeper.study.silence import LEAST_S, TIMES_AN_EPOCH, WITHOUT_AN_EPOCH_S, Silence
from sweeper.tracking.outbox import AwakeClock


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_patience_follows_from_how_long_epochs_take(clock: Clock) -> None:
    silence = Silence(None, clock)
    silence.group_started([0])
    clock.now += WITHOUT_AN_EPOCH_S - 1
    assert list(silence.news()) == []
    clock.now += 1
    assert list(silence.news()) == [(0, WITHOUT_AN_EPOCH_S)]
    silence.epoch_finished(0)
    clock.now += TIMES_AN_EPOCH * WITHOUT_AN_EPOCH_S - 1
    assert list(silence.news()) == []
    clock.now += 1
    assert [trial for trial, _ in silence.news()] == [0]


def test_short_epochs_are_given_a_minute(clock: Clock) -> None:
    silence = Silence(None, clock)
    silence.group_started([0])
    clock.now += 1
    silence.epoch_finished(0)
    clock.now += LEAST_S - 1
    assert list(silence.news()) == []
    clock.now += 1
    assert list(silence.news()) == [(0, LEAST_S)]


def test_a_silence_is_reported_again_when_it_has_doubled(clock: Clock) -> None:
    silence = Silence(None, clock)
    silence.group_started([3])
    told = []
    for _ in range(40):
        clock.now += WITHOUT_AN_EPOCH_S / 4
        told += [seconds / WITHOUT_AN_EPOCH_S for _, seconds in silence.news()]
    assert told == [1, 2, 4, 8]


def test_trials_that_wait_for_others_on_their_worker_are_not_silent(clock: Clock) -> None:
    silence = Silence(WITHOUT_AN_EPOCH_S, clock)
    silence.group_started([0, 1, 2])
    for _ in range(10):
        clock.now += WITHOUT_AN_EPOCH_S - 1
        silence.epoch_finished(1)
        assert list(silence.news()) == []
        assert silence.overdue() == []
    silence.trial_ended(1)
    clock.now += WITHOUT_AN_EPOCH_S
    assert silence.overdue() == [0]
    silence.trial_ended(0)
    silence.trial_ended(2)
    assert silence.overdue() == []


def test_time_in_which_the_driver_was_stopped_is_not_a_silence_of_its_workers(clock: Clock) -> None:
    silence = Silence(60, AwakeClock(clock))
    silence.group_started([0])
    for _ in range(50):
        clock.now += 1
        assert silence.overdue() == []
    clock.now += 600  # Ctrl-Z, and `fg`
    assert silence.overdue() == []
    for _ in range(9):
        clock.now += 1
        assert bool(silence.overdue()) == (clock.now >= 1000 + 600 + 59)


def test_without_a_limit_no_worker_is_given_up(clock: Clock) -> None:
    silence = Silence(None, clock)
    silence.group_started([0])
    clock.now += 1e9
    assert silence.overdue() == []


def test_a_sign_of_life_ends_a_silence_and_says_nothing_of_how_long_an_epoch_takes(clock: Clock) -> None:
    silence = Silence(100, clock)
    silence.group_started([0])
    silence.epoch_finished(0)
    for _ in range(5):
        clock.now += 90
        silence.at_work(0)
        assert (silence.overdue(), list(silence.news())) == ([], [])
    clock.now += LEAST_S
    assert [trial for trial, _ in silence.news()] == [0]
    clock.now += 100 - LEAST_S
    assert silence.overdue() == [0]
