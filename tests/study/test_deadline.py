"""A deadline: what the time is divided into, which trials it ends, and that a search keeps to its part."""

from __future__ import annotations

import time
from math import inf
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config.hyperparameters import TrialConfig
from sweeper.config.sweep import SweepConfig
from sweeper.engines.simulated.clock import VirtualClock
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.study import deadline as deadline_module
from sweeper.study.deadline import (
    LEADERS,
    LEAST_TRIALS,
    MOST_SEEDS,
    ConfirmingLimit,
    Deadline,
    SearchLimit,
)
from sweeper.study.pace import Pace
from sweeper.study.result import SweepResult
from sweeper.study.time_limit import Timeout, seconds_awake_or_asleep
from sweeper.tracking.mlflow_store import default_tracking_uri
from sweeper.tracking.tags import REASON_TAG, STATE_TAG
from tests.standings.test_ranking import row as row_of
from tests.study.test_driver import Silent
from tests.study.test_simulated_study import run as simulated

sweeps = pytest.mark.sweeps

SECONDS = st.floats(1, 1e6)


def spec_of(number: int, epochs: int) -> TrialSpec:
    return TrialSpec(number=number, seed=0, epochs=epochs, config=TrialConfig(backbone="r"))


def metrics_of(epoch: int, seconds: float) -> EpochMetrics:
    return EpochMetrics(epoch=epoch, values={"time/epoch_s": seconds}, timestamp_ms=0)


class Search:
    """A search on one worker whose epochs take as long as the test says."""

    def __init__(self, seconds: float, epochs: int, *, settled: bool = False):
        self.clock = VirtualClock(0)
        self.deadline = Deadline(self.clock, seconds)
        self.limit = SearchLimit(self.deadline, epochs, settled=settled)
        self.epochs = epochs

    def trial(self, number: int, epoch_s: float) -> bool:
        """Train a trial; return whether it came to its end."""
        spec = spec_of(number, self.epochs)
        self.limit.group_started([spec])
        for epoch in range(1, spec.epochs + 1):
            self.clock.advance_to(self.clock() + epoch_s)
            self.epochs = self.limit.epoch_finished(number, metrics_of(epoch, epoch_s)) or self.epochs
            if cut := self.limit.cut(spec, metrics_of(epoch, epoch_s)):
                self.limit.trial_ended(number, complete=cut.complete)
                return not cut.complete and self.trial(number + 1, epoch_s)
        self.limit.trial_ended(number, complete=True)
        return True


@given(SECONDS, st.floats(0.01, 1e5), st.integers(1, 200))
def test_the_first_epoch_settles_how_many_a_trial_has(seconds: float, epoch_s: float, epochs: int) -> None:
    search = Search(seconds, epochs)
    spec = spec_of(0, epochs)
    search.limit.group_started([spec])
    planned = search.limit.epoch_finished(0, metrics_of(1, epoch_s)) or epochs
    assert 1 <= planned <= epochs
    if planned > 1:
        assert planned * epoch_s * LEAST_TRIALS <= search.deadline.search_left_s(epochs) * (1 + 1e-9)
    assert search.limit.epoch_finished(0, metrics_of(2, epoch_s)) is None


def test_features_that_are_computed_once_do_not_count_as_the_time_of_an_epoch() -> None:
    search = Search(3600, 20)
    search.limit.group_started([spec_of(0, 20)])
    search.clock.advance_to(search.clock() + 1201)
    first = {"time/epoch_s": 1.0, "time/features_s": 1200.0}
    assert search.limit.epoch_finished(0, EpochMetrics(epoch=1, values=first, timestamp_ms=0)) is None
    search.clock.advance_to(search.clock() + 301)
    second = {"time/epoch_s": 1.0, "time/features_s": 300.0}  # of another view
    search.limit.epoch_finished(0, EpochMetrics(epoch=2, values=second, timestamp_ms=0))
    search.limit.trial_ended(0, complete=True)
    assert search.deadline.pace.trial_s(20) == pytest.approx(20)


@given(SECONDS, st.floats(0.01, 1e5), st.integers(1, 50))
def test_the_search_leaves_time_for_an_export_and_no_trial_is_begun_that_does_not_fit(
    seconds: float, epoch_s: float, epochs: int
) -> None:
    search = Search(seconds, epochs)
    number, longest = 0, max(50.0, seconds / epoch_s / 8)
    while search.limit.used_up() is None and number < min(longest, 300):
        search.trial(number, epoch_s)
        number += 2
    if epoch_s * epochs < search.deadline.finish_s < seconds / 10:
        assert search.deadline.left_s >= search.deadline.finish_s


def test_a_trial_that_would_not_end_in_time_ends_with_an_epoch_and_counts_as_complete() -> None:
    search = Search(1000, 10, settled=True)
    spec = spec_of(0, 10)
    search.limit.group_started([spec])
    search.clock.advance_to(600)
    search.limit.epoch_finished(0, metrics_of(1, 50))
    assert search.limit.cut(spec, metrics_of(1, 50)) is None
    search.clock.advance_to(860)
    search.limit.epoch_finished(0, metrics_of(2, 50))
    cut = search.limit.cut(spec, metrics_of(2, 50))
    assert cut is not None
    assert cut.complete
    assert cut.why == "ended after epoch 2 of 10: the time for the search is used up"
    assert search.limit.cut(spec, metrics_of(10, 50)) is None, "the last epoch ends it anyway"


def test_trials_are_left_running_past_the_time_only_until_one_is_complete() -> None:
    search = Search(100, 10)
    spec = spec_of(0, 10)
    search.limit.group_started([spec])
    search.clock.advance_to(150)
    assert not search.limit.over()
    search.limit.epoch_finished(0, metrics_of(1, 150))
    cut = search.limit.cut(spec, metrics_of(1, 150))
    assert cut is not None
    assert cut.complete
    assert not search.limit.over()
    search.limit.trial_ended(0, complete=True)
    assert search.limit.over()


@given(st.floats(60, 1e5), st.floats(0.1, 1e4), st.integers(0, 50))
def test_the_best_are_trained_again_as_far_as_the_time_reaches(seconds: float, trial_s: float, complete: int) -> None:
    search = Search(seconds, 1, settled=True)
    search.trial(0, trial_s)
    plan = search.deadline.confirming(1, complete)
    left_s = search.deadline.left_s - search.deadline.finish_s
    if plan is None:
        assert complete < LEADERS[-1][0] or left_s < LEADERS[-1][1] * trial_s * 1.15 + 10
    else:
        assert plan.leaders <= complete
        assert plan.leaders * 2 * trial_s <= left_s
    limit = ConfirmingLimit(search.deadline, 1)
    assert (limit.used_up() is None) == (trial_s <= left_s)


def test_a_run_without_a_trial_of_its_own_confirms_at_the_speed_of_earlier_ones() -> None:
    deadline = Deadline(VirtualClock(0), 600)
    assert deadline.confirming(2, complete=5) is None
    deadline.pace.count_earlier([row_of(number, 0.5) for number in range(5)])  # a second an epoch
    plan = deadline.confirming(2, complete=5)
    assert plan is not None
    assert (plan.leaders, plan.seeds) == (LEADERS[0][0], MOST_SEEDS)


def test_what_earlier_runs_have_spent_counts_for_a_time_and_not_for_a_moment() -> None:
    clock = VirtualClock(0)
    of_study, moment = Deadline(clock, 100), Deadline(clock, 100, of_study=False)
    for deadline in (of_study, moment):
        deadline.count_earlier(40)
    assert (of_study.left_s, moment.left_s) == (60, 100)


def test_the_deadline_comes_nearer_while_the_machine_sleeps_and_no_trial_is_slow_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    awake, slept = 1000.0, 0.0
    monkeypatch.setattr(deadline_module, "seconds_awake_or_asleep", lambda: awake + slept)
    monkeypatch.setattr(time, "monotonic", lambda: awake)
    deadline = Deadline(None, 36_000)
    deadline.pace.group_started([spec_of(0, 2)])
    awake, slept = awake + 60, slept + 28_800
    deadline.pace.epoch_finished(0, metrics_of(1, 60))
    assert deadline.left_s == 36_000 - 28_800 - 60
    assert deadline.pace.epoch_s == pytest.approx(60)


def test_the_clock_of_a_deadline_counts_seconds() -> None:
    first = seconds_awake_or_asleep()
    time.sleep(0.05)
    assert seconds_awake_or_asleep() - first >= 0.04


def sweep_of(seconds: float, *, epoch: float = 10, epochs: int = 9, **others: Any) -> SweepConfig:
    content = {
        "study": "s",
        "dataset": {"path": "nowhere"},
        "budget": {"for": seconds, "epochs": epochs},
        "pruner": "none",
        "search": {"backbone": "r", "weight_decay": {"float": [0, 1]}},
        "engine": {"name": "simulate", "epoch": epoch, "spread": 0.3},
    }
    return SweepConfig.model_validate(content | others)


def run(workspace: Workspace, sweep: SweepConfig, observer: Silent | None = None) -> tuple[SweepResult, Deadline]:
    clock = VirtualClock(0)
    assert sweep.budget.time is not None
    deadline = Deadline(clock, sweep.budget.time)
    result = simulated(workspace, sweep, observer, clock=clock, deadline=deadline)
    return result, deadline


def states(result: SweepResult) -> list[TrialState]:
    return [row.state for row in result.rows]


@sweeps
def test_a_slower_machine_searches_less_and_keeps_the_same_time_for_the_rest(tmp_path: Path) -> None:
    quick, slow = (run(Workspace(tmp_path / str(epoch)), sweep_of(3600, epoch=epoch)) for epoch in (10.0, 20.0))
    assert len(quick[0].rows) > 1.4 * len(slow[0].rows) > 8
    for result, deadline in (quick, slow):
        assert TrialState.RUNNING not in states(result)
        assert TrialState.WAITING not in states(result)
        assert 0.25 * 3600 <= deadline.left_s <= 0.5 * 3600


@sweeps
def test_too_many_epochs_become_fewer_and_the_trials_begun_are_trained_again(workspace: Workspace) -> None:
    watching = Silent()
    result, _ = run(workspace, sweep_of(3600, epochs=200), watching)
    before, planned = watching.planned
    assert before == 200
    assert planned < 60
    first, again = result.rows[0], result.rows[2]
    assert first.state is TrialState.PRUNED
    assert (
        first.reason == f"ended after epoch 1: 200 epochs are too many for the time, it is trained again with {planned}"
    )
    assert again.params == first.params
    assert {row.epochs for row in result.rows if row.state is TrialState.COMPLETE and not row.reason} == {planned}
    stored = StudyStore.load(f"sqlite:///{workspace.optuna_database}", "s")
    assert stored.sweep.budget.epochs == planned


@sweeps
def test_trials_that_do_not_end_in_time_end_with_an_epoch_and_mlflow_says_so(workspace: Workspace) -> None:
    unequal = {"name": "simulate", "epoch": 60, "spread": 1.5}
    result, _ = run(workspace, sweep_of(3600, engine=unequal))
    late = [row for row in result.rows if row.state is TrialState.COMPLETE and row.reason]
    assert late
    client = mlflow.MlflowClient(default_tracking_uri(workspace))
    found = {found.info.run_name: found.data.tags for found in client.search_runs([str(result.experiment)])}
    for row in late:
        tags = found[f"trial-{row.number:04d}"]
        assert tags[STATE_TAG] == "complete"
        assert tags[REASON_TAG] == row.reason


@sweeps
def test_a_machine_too_slow_for_the_whole_time_still_gives_a_model(workspace: Workspace) -> None:
    result, deadline = run(workspace, sweep_of(100, epoch=1000, epochs=3))
    assert TrialState.COMPLETE in states(result)
    assert deadline.left_s < 0


@sweeps
@pytest.mark.parametrize("pruner", ["promote", "hyperband", "median"])
def test_a_deadline_goes_with_every_kind_of_pruner(workspace: Workspace, pruner: str) -> None:
    result, deadline = run(workspace, sweep_of(3600, pruner=pruner))
    assert TrialState.COMPLETE in states(result)
    assert not {TrialState.RUNNING, TrialState.PAUSED, TrialState.WAITING} & set(states(result))
    assert deadline.left_s > 0.2 * 3600


@sweeps
def test_a_study_goes_on_with_the_epochs_that_were_planned(workspace: Workspace) -> None:
    first, _ = run(workspace, sweep_of(3600, epochs=200))
    watching = Silent()
    longer, _ = run(workspace, sweep_of(3 * 3600, epochs=200), watching)
    assert not hasattr(watching, "planned")
    assert len(longer.rows) > len(first.rows)
    epochs = {
        row.epochs for row in longer.rows[len(first.rows) + 2 :] if row.state is TrialState.COMPLETE and not row.reason
    }
    assert epochs == {StudyStore.load(f"sqlite:///{workspace.optuna_database}", "s").sweep.budget.epochs}


def test_time_in_which_the_study_is_paused_makes_no_epoch_long() -> None:
    search = Search(7200, 10, settled=True)
    search.limit.group_started([spec_of(0, 10)])
    for epoch in (1, 2, 3):
        search.clock.advance_to(search.clock() + 20)
        search.limit.epoch_finished(0, metrics_of(epoch, 20))
        if epoch == 2:
            search.clock.advance_to(search.clock() + 1200)
            search.limit.waited([0])
    assert search.deadline.pace.last_epoch_s(0) == 20
    search.limit.trial_ended(0, complete=True)
    assert search.deadline.pace.trial_s(10) == pytest.approx(200)


def test_a_trial_that_would_pause_is_trained_again_where_it_has_too_many_epochs() -> None:
    search = Search(1000, 10)
    spec = spec_of(0, 10).model_copy(update={"pause_after": 1})
    search.limit.group_started([spec])
    search.clock.advance_to(40)
    assert search.limit.epoch_finished(0, metrics_of(1, 40)) == 2
    cut = search.limit.cut(spec, metrics_of(1, 40))
    assert cut is not None
    assert cut.again


def test_a_server_that_takes_nothing_does_not_use_up_the_time() -> None:
    search = Search(1000, 10)
    assert search.limit.delivery_s() == pytest.approx(1000 - 2 * 25 - 5 - 250)
    search.clock.advance_to(700)
    assert search.limit.delivery_s() == 5
    assert ConfirmingLimit(search.deadline, 10).delivery_s() == pytest.approx(300 - 25 - 5)
    assert Timeout(10, 0, search.clock).delivery_s() == inf


def test_without_time_to_confirm_anything_no_second_export_is_kept_time_for() -> None:
    search = Search(1000, 10, settled=True)
    assert search.deadline.search_left_s(10) == pytest.approx(1000 - 25 - 250 - 30)
    search.trial(0, 60)
    assert search.clock() == 600
    assert search.deadline.search_left_s(10) == pytest.approx(400 - 30)


@pytest.mark.parametrize(
    ("export_s", "confirming_s"), [(100, 250), (200, 100), (250, None)], ids=["short", "long", "too long"]
)
def test_a_long_export_takes_its_time_from_the_confirmation_before_the_search(
    export_s: float, confirming_s: float | None
) -> None:
    deadline = Deadline(VirtualClock(0), 1000)
    deadline.expect_export(export_s)
    beside = 0 if confirming_s is None else export_s + confirming_s  # without it no second export
    assert deadline.search_left_s(10) == pytest.approx(1000 - beside - export_s - 5)


@sweeps
def test_even_a_time_that_is_too_short_for_anything_has_one_trial(workspace: Workspace) -> None:
    result, deadline = run(workspace, sweep_of(1, epoch=10, epochs=3))
    assert TrialState.COMPLETE in states(result)
    assert {row.epochs for row in result.rows if row.state is TrialState.COMPLETE} == {1}
    assert deadline.left_s < 0


@sweeps
def test_a_trial_that_is_trained_again_is_no_model_yet(workspace: Workspace) -> None:
    """The first trial is cut for its many epochs, and after it a whole one no longer fits."""
    result, _ = run(workspace, sweep_of(150, epoch=9, epochs=50))
    assert result.rows[0].state is TrialState.PRUNED
    assert TrialState.COMPLETE in states(result)


@sweeps
def test_a_study_that_has_a_model_starts_nothing_when_its_time_is_used_up(workspace: Workspace) -> None:
    first, _ = run(workspace, sweep_of(3600))
    again, _ = run(workspace, sweep_of(1))
    assert len(again.rows) == len(first.rows)


def test_times_are_shared_by_a_stack_and_not_by_all_of_its_group() -> None:
    clock = VirtualClock()
    pace = Pace(clock)
    pace.group_started([spec_of(number, 1) for number in range(3)])
    for stack in ((0, 1), (2,)):  # one after the other: 60 s for features, 10 s for the epoch
        clock.advance_to(clock() + 70)
        for number in stack:
            values = {"time/epoch_s": 10 / len(stack), "time/features_s": 60 / len(stack)}
            pace.epoch_finished(number, EpochMetrics(epoch=1, values=values, timestamp_ms=0, at_once=len(stack)))
        assert [pace.last_epoch_s(number) for number in stack] == [10.0] * len(stack)
        for number in stack:
            pace.trial_ended(number)
    assert (pace.epoch_s, pace.trial_s(3)) == (10.0, 30.0)
