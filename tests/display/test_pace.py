from __future__ import annotations

from sweeper.display.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_long_work_is_told_every_ten_seconds_with_the_time_left_and_short_work_not_at_all() -> None:
    clock, said = Clock(), list[str]()
    pace = Pace("decoding images", said.append, clock)
    for second in range(35):
        clock.now = 100.0 + second
        pace(100 * second, 4000)
    assert said == [
        "decoding images: 1,000 of 4,000, 30.0s left",
        "decoding images: 2,000 of 4,000, 20.0s left",
        "decoding images: 3,000 of 4,000, 10.0s left",
    ]


def test_work_that_begins_anew_is_timed_anew() -> None:
    clock, said = Clock(), list[str]()
    pace = Pace("decoding images", said.append, clock)
    for second in range(12):
        clock.now += 1
        pace(1000 * (second + 1), 12_000)
    clock.now += 1
    pace(0, 50)  # another size
    clock.now += 10
    pace(10, 50)
    clock.now += 10
    pace(20, 50)
    assert said[-1] == "decoding images: 20 of 50, 30.0s left"


def test_the_time_before_anything_is_done_does_not_count() -> None:
    clock, said = Clock(), list[str]()
    pace = Pace("features", said.append, clock)
    pace(0, 1000)
    clock.now += 9  # the network is built
    pace(100, 1000)
    clock.now += 10
    pace(300, 1000)
    assert said == ["features: 300 of 1,000, 35.0s left"]


def test_without_anything_done_no_time_is_foretold() -> None:
    clock = Clock()
    pace = Pace("x", print, clock)
    clock.now += 60
    assert pace.told(0, 50) == "0 of 50"
    assert pace.told(50, 50) == "50 of 50"


def test_of_a_whole_that_nobody_knows_only_what_is_done_is_told() -> None:
    assert Pace("downloading", lambda _: None).told(34, 0) == "34 so far"
