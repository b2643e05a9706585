"""--for and --until: what they stand for in a search space."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

from sweeper.commands.options import seconds_until, with_deadline
from sweeper.config.sweep import AS_MANY_AS_FIT, BudgetConfig
from sweeper.errors import ConfigError

NOON = datetime(2026, 3, 1, 12, 0).astimezone()


@pytest.mark.parametrize(
    ("moment", "hours"), [("18:00", 6), ("18:30:36", 6.51), ("11:00", 23), ("12:00", 24), ("2026-03-02T00:00", 12)]
)
def test_a_moment_is_the_next_of_its_name(moment: str, hours: float) -> None:
    assert seconds_until(moment, NOON) == pytest.approx(hours * 3600)


@pytest.mark.parametrize(
    ("moment", "hours"),
    [("01:00+02:00", 23.5), ("02:00+02:00", 0.5), ("23:45Z", 0.25), ("18:00-07:00", 1.5), ("16:00-07:00", 23.5)],
)
def test_a_time_of_day_of_another_zone_is_the_next_there(moment: str, hours: float) -> None:
    late = datetime.fromisoformat("2026-03-01T23:30+00:00")
    assert seconds_until(moment, late) == pytest.approx(hours * 3600)


@pytest.mark.parametrize("moment", ["25:00", "soon", "", "2h", "2026-02-30T10:00"])
def test_what_is_no_moment_is_refused_with_an_example(moment: str) -> None:
    with pytest.raises(ConfigError, match=r"--until: should be a time such as 18:00, .* got "):
        seconds_until(moment, NOON)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one place for all processes")
@pytest.mark.parametrize(("evening", "hours"), [("2026-03-28T22:00", 9), ("2026-10-24T22:00", 11)])
@pytest.mark.parametrize("dated", [False, True])
def test_a_moment_after_the_clocks_change_is_that_of_the_clock_on_the_wall(
    monkeypatch: pytest.MonkeyPatch, evening: str, hours: float, dated: bool
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        now = datetime.fromisoformat(evening).astimezone()
        next_day = f"{now.date().replace(day=now.day + 1)}T" if dated else ""
        assert seconds_until(f"{next_day}08:00", now) == hours * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_that_has_passed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"2026-03-01T11:59 has passed: it is 2026-03-01T12:00"):
        seconds_until("2026-03-01T11:59", NOON)


def test_a_time_lifts_the_number_of_trials_unless_one_is_given() -> None:
    assert with_deadline(["seed=1"], "2h", None) == ["seed=1", "budget.for=2h", f"budget.trials={AS_MANY_AS_FIT}"]
    assert with_deadline(["budget.trials=3"], "2h", None) == ["budget.trials=3", "budget.for=2h"]
    assert with_deadline(None, None, None) == []
    assert with_deadline(None, None, "18:00")[0].startswith("budget.for=")


@pytest.mark.parametrize("number", ["10", "2.5"])
def test_a_number_without_a_unit_is_refused(number: str) -> None:
    with pytest.raises(ConfigError, match=f"--for: should have a unit, such as 45m or 2h, got {number}"):
        with_deadline([], number, None)


def test_both_are_refused() -> None:
    with pytest.raises(ConfigError, match="say the same in two ways"):
        with_deadline([], "2h", "18:00")


def test_a_budget_of_time_has_as_many_trials_as_fit() -> None:
    assert BudgetConfig.model_validate({"for": "2h"}).open_ended
    limited = BudgetConfig.model_validate({"for": "90m", "trials": 7})
    assert (limited.time, limited.trials, limited.open_ended) == (5400, 7, False)
    assert not BudgetConfig().open_ended
    with pytest.raises(ValueError, match="both limit the time"):
        BudgetConfig.model_validate({"for": "2h", "timeout": "1h"})
