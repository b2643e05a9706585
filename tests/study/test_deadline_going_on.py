"""A deadline over runs that were interrupted, and the time that is kept for the export and the confirmation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.engines.protocol import Event
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.paths import Workspace
from sweeper.results import TrialSpec
from sweeper.search.study_store import StudyStore
from sweeper.study.deadline import COUNTED_EVERY_S, EXPORT_S, REPORT_S, ConfirmingLimit, Deadline, SearchLimit
from sweeper.study.material import Material, _no_images
from sweeper.study.opening import Opening
from sweeper.study.run import _limited
from sweeper.study.time_beside import add_seconds_beside
from sweeper.study.time_limit import TimeLimit
from tests.standings.test_ranking import row as row_of
from tests.study.test_deadline import Search, metrics_of, spec_of
from tests.study.test_driver import ScriptedEngine, completes, drive, stored, sweep_of


def limited(deadline: Deadline, store: StudyStore, clock: VirtualClock) -> TimeLimit:
    material = Material(_no_images(store.sweep), Opening((), ()))
    return _limited(deadline, None, store, material, Workspace(Path("nowhere")), clock)[0]


def store_of(folder: Path, content: dict[str, Any], before: int = 0) -> StudyStore:
    return StudyStore.create_or_load(
        f"sqlite:///{folder / 'optuna.db'}", SweepConfig.model_validate(content), before=before
    )


@pytest.mark.parametrize("before", [0, 3])
def test_a_continuation_keeps_its_epochs_since_those_of_its_source_are_among_them(tmp_path: Path, before: int) -> None:
    content = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "search": {"backbone": "r"},
        "budget": {"for": "1m", "epochs": 9},
    }
    store, clock = store_of(tmp_path, content, before), VirtualClock(0)
    limit = limited(Deadline(clock, 60), store, clock)
    spec = spec_of(0, 9)
    limit.group_started([spec])
    assert (limit.epoch_finished(0, metrics_of(before + 1, 30)) is None) is (before > 0)


def test_the_epochs_of_its_source_take_no_time_of_a_continuation(tmp_path: Path) -> None:
    content = {
        "study": "s",
        "dataset": {"builtin": "digits"},
        "search": {"backbone": "r"},
        "budget": {"for": "10m", "epochs": 110, "trials": 20},
    }
    store, clock = store_of(tmp_path, content, before=100), VirtualClock(0)
    deadline = Deadline(clock, 600)
    limit = limited(deadline, store, clock)
    limit.group_started([spec_of(0, 110)])
    for epoch in range(101, 111):
        clock.advance_to(clock() + 2)
        limit.epoch_finished(0, metrics_of(epoch, 2))
    limit.trial_ended(0, complete=True)
    assert deadline.pace.trial_s(110) == pytest.approx(20)
    assert limit.used_up() is None
    assert deadline.confirming(110, complete=2) is not None
    deadline.pace.count_earlier([row_of(1, 0.5).model_copy(update={"epochs": 110, "seconds": 20.0})])
    assert deadline.pace.earlier_trial_s(110) == pytest.approx(20)


@pytest.mark.parametrize(("epochs", "planned"), [(1, True), (2, True), (3, False)])
def test_epochs_are_planned_after_an_interruption_while_only_heads_have_learned(
    tmp_path: Path, epochs: int, planned: bool
) -> None:
    search = {"backbone": "r", "pretrained": True, "unfreezing": {"head_epochs": 2}}
    content = {"study": "s", "dataset": {"builtin": "digits"}, "search": search, "budget": {"for": "1m", "epochs": 9}}
    store, clock = store_of(tmp_path, content), VirtualClock(0)
    (spec,) = store.next_group(1)
    for epoch in range(1, epochs + 1):
        store.report(spec.number, epoch, 0.5, None)
    limit = limited(Deadline(clock, 60), store, clock)
    limit.group_started([spec])
    for epoch in range(1, 4):
        found = limit.epoch_finished(0, metrics_of(epoch, 30))
    assert (found is not None) is planned


def test_a_search_without_a_complete_trial_ends_some_time_after_the_deadline() -> None:
    search = Search(100, 10, settled=True)
    for number in range(4):
        search.limit.group_started([spec_of(number, 10)])
        search.clock.advance_to(search.clock() + 40)
        search.limit.trial_ended(number, complete=False)
        assert search.limit.used_up() is None
    for number in range(4, 7):
        search.limit.group_started([spec_of(number, 10)])
        search.limit.trial_ended(number, complete=False)
    assert "none of the latest 5 trials is complete" in (search.limit.used_up() or "")


DIGITS = {"study": "s", "dataset": {"builtin": "digits"}, "search": {"backbone": "r"}, "budget": {"for": "10m"}}


def test_what_preparing_and_finishing_took_counts_when_the_run_goes_on(tmp_path: Path) -> None:
    store, clock = store_of(tmp_path, DIGITS), VirtualClock(0)
    first = Deadline(clock, 600)
    clock.advance_to(100)  # the images were decoded
    limited(first, store, clock)
    store.add_seconds_used(200)
    clock.advance_to(350)
    first.count_into(partial(add_seconds_beside, store))
    clock.advance_to(380)
    first.count_used(COUNTED_EVERY_S)
    again = Deadline(clock, 600)
    clock.advance_to(385)
    limited(again, store, clock)
    assert again.left_s == 600 - 100 - 200 - 30 - 5
    last = Deadline(clock, 600)
    limited(last, store, clock)
    assert last.left_s == again.left_s


def test_a_trial_is_not_left_while_the_search_still_has_time() -> None:
    search = Search(600, 10, settled=True)
    search.trial(0, 1)
    spec, done = spec_of(1, 10), 600 - search.deadline.finish_s
    search.limit.group_started([spec])
    search.clock.advance_to(done - 4)
    search.limit.epoch_finished(1, metrics_of(1, 2))
    assert not search.limit.over()
    search.clock.advance_to(done + 1)
    assert search.limit.over()


class HundredSecondsMore:
    """Exports of trials whose numbers say how slow their networks are."""

    def __init__(self) -> None:
        self._begun: list[int] = []
        self._complete: list[int] = []

    def begun(self, spec: TrialSpec) -> None:
        self._begun.append(spec.number)

    def complete(self, spec: TrialSpec) -> None:
        self._complete.append(spec.number)

    def seconds(self) -> float | None:
        numbers = self._complete or self._begun
        return 100.0 * (1 + max(numbers)) if numbers else None


def test_time_is_kept_for_the_export_of_the_slowest_network() -> None:
    clock = VirtualClock(0)
    deadline = Deadline(clock, 3600)
    limit = SearchLimit(deadline, 1, settled=True, export_time=HundredSecondsMore())
    limit.used_up()
    assert deadline.finish_s == EXPORT_S + REPORT_S, "nothing is known yet"
    for number, kept_s in [(0, 100.0), (2, 300.0), (1, 300.0)]:
        limit.group_started([spec_of(number, 1)])
        limit.used_up()
        assert deadline.finish_s == kept_s + REPORT_S
    for number, kept_s in [(1, 200.0), (0, 200.0)]:  # trial 2 is pruned
        limit.trial_ended(number, complete=True)
        limit.used_up()
        assert deadline.finish_s == kept_s + REPORT_S
    deadline.exported(20)
    assert deadline.finish_s == 23 + REPORT_S


def test_an_export_that_takes_longer_than_there_is_time_leaves_half_of_it_to_the_search(
    caplog: pytest.LogCaptureFixture,
) -> None:
    search = Search(1000, 20)
    for _ in range(2):
        search.deadline.expect_export(4000)
    assert search.deadline.finish_s == 500 + REPORT_S
    assert caplog.text.count("4000 s") == 1


def test_a_confirmation_that_was_killed_goes_on_at_the_speed_of_all_its_workers() -> None:
    rows = [row_of(number, 0.5) for number in range(5)]  # a second an epoch
    alone, killed = Deadline(VirtualClock(0), 100), Deadline(VirtualClock(0), 100)
    alone.pace.count_earlier(rows)
    killed.pace.count_earlier(rows, at_once=8)
    assert alone.confirming(40, complete=5) is None
    plan = killed.confirming(40, complete=5)
    assert plan is not None
    assert plan.leaders == 3


def test_what_is_trained_of_a_confirmation_is_judged_when_no_time_is_left() -> None:
    clock = VirtualClock(0)
    deadline = Deadline(clock, 100)
    deadline.pace.count_earlier([row_of(number, 0.5) for number in range(5)])
    clock.advance_to(200)
    assert deadline.confirming(10, complete=5) is None
    plan = deadline.confirming(10, complete=5, done_of=lambda leaders: [3, 3, 3, 3, 0][:leaders])
    assert plan is not None
    assert plan.leaders == 4
    assert ConfirmingLimit(deadline, 10).over()


def test_a_trial_that_was_confirmed_before_leaves_the_time_to_those_that_it_is_compared_with() -> None:
    deadline = Deadline(VirtualClock(0), 100)
    deadline.pace.count_earlier([row_of(number, 0.5) for number in range(9)])  # a second an epoch
    plan = deadline.confirming(10, complete=9, done_of=lambda leaders: [*[0] * leaders, 10])
    assert plan is not None
    assert plan.leaders == 2
    assert plan.seeds >= 2


def test_no_repetition_begins_that_does_not_fit_by_the_speed_of_earlier_trials() -> None:
    deadline = Deadline(VirtualClock(0), 60)
    deadline.pace.count_earlier([row_of(number, 0.5) for number in range(5)])  # a second an epoch
    assert ConfirmingLimit(deadline, 10).used_up() is None
    assert ConfirmingLimit(deadline, 50).used_up() is not None


def test_what_passed_before_the_images_are_prepared_counts_too(tmp_path: Path) -> None:
    store, clock = store_of(tmp_path, DIGITS), VirtualClock(0)
    limited(Deadline(clock, 600, passed=7), store, clock)
    again = Deadline(clock, 600)
    limited(again, store, clock)
    assert again.left_s == 600 - 7


@pytest.mark.parametrize("under_a_deadline", [True, False])
def test_what_a_machine_slept_is_gone_from_the_time_of_a_deadline_when_the_run_goes_on(
    tmp_path: Path, under_a_deadline: bool
) -> None:
    awake, passed = VirtualClock(0), VirtualClock(0)

    def sleeps(spec: TrialSpec) -> Iterator[Event]:
        awake.advance_to(awake() + 10)
        passed.advance_to(passed() + 1000)
        return completes(spec)

    limit = SearchLimit(Deadline(passed, 36_000), 3, settled=True) if under_a_deadline else None
    drive(tmp_path, ScriptedEngine(sleeps), sweep_of(trials=2), clock=awake, limit=limit)
    assert stored(tmp_path).seconds_used == (2000 if under_a_deadline else 20)
