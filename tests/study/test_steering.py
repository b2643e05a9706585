"""What a running study is asked for: it does it once, in order, and says why where it cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.engines.starting import clock_of
from sweeper.errors import StudyError
from sweeper.paths import Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.study.deadline import Deadline
from sweeper.study.requests import (
    REQUEST,
    Enqueue,
    Inbox,
    Pause,
    Request,
    Resume,
    SetTrials,
    SetWorkers,
    Skip,
    Stop,
    wait_for_answer,
)
from sweeper.study.steering import Reach, Steering
from tests.study.test_driver import Silent
from tests.study.test_simulated_study import run as simulated

Act = Callable[[int, EpochMetrics], None]


class Acting(Silent):
    """Asks for things when an epoch has ended, as somebody at another terminal would."""

    def __init__(self, act: Act):
        super().__init__()
        self._act = act
        self.heard: list[str] = []
        self.ended: list[int] = []
        self.at_once: dict[int, int] = {}
        self.budget = 0
        self._running: set[int] = set()

    def trial_started(self, spec: TrialSpec) -> None:
        self._running.add(spec.number)
        self.at_once[spec.number] = len(self._running)

    def epoch_finished(self, number: int, metrics: EpochMetrics) -> None:
        self._act(number, metrics)

    def steered(self, what: str, budget: int) -> None:
        self.heard.append(what)
        self.budget = budget

    def trial_ended(self, number: int, outcome: TrialOutcome) -> None:
        self.ended.append(number)
        self._running.discard(number)


CONTENT: dict[str, Any] = {
    "study": "s",
    "dataset": {"path": "nowhere"},
    "budget": {"trials": 5, "epochs": 3},
    "pruner": "none",
    "search": {"backbone": "r", "weight_decay": {"float": [0, 1]}},
    "engine": {"name": "simulate"},
}
SPACE = SweepConfig.model_validate(CONTENT)


def run(workspace: Workspace, act: Callable[[Inbox, int, int], None], trials: int = 5) -> tuple[list[TrialRow], Acting]:
    sweep = SweepConfig.model_validate({**CONTENT, "budget": {"trials": trials, "epochs": 3}})
    inbox = Inbox.of(workspace.study("s"))
    observer = Acting(lambda number, metrics: act(inbox, number, metrics.epoch))
    result = simulated(workspace, sweep, observer, workers="1")
    assert list(inbox.folder.glob("*.json")) == list(inbox.folder.glob("*.taken")) == []
    return result.rows, observer


def once(number: int, epoch: int, *requests: Request) -> Callable[[Inbox, int, int], None]:
    def act(inbox: Inbox, now: int, at: int) -> None:
        if (now, at) == (number, epoch):
            for request in requests:
                inbox.put(request)

    return act


def test_stop_finishes_what_runs_and_starts_nothing_more(workspace: Workspace) -> None:
    rows, watching = run(workspace, once(1, 1, Stop()))
    assert [row.state for row in rows] == [TrialState.COMPLETE] * 2
    assert watching.stopped_because == "`sweeper stop` asked for it"
    again, _ = run(workspace, lambda *_: None)
    assert len(again) == 5, "run the same command again to continue"


@pytest.mark.parametrize(("time", "whole"), [({"for": "10h"}, 1), ({}, 0)])
def test_a_stop_under_a_deadline_lets_the_best_paused_trial_go_on_so_that_there_is_a_model(
    workspace: Workspace, time: dict[str, str], whole: int
) -> None:
    budget = {"trials": 40, "epochs": 9, **time}
    pruner = {"name": "promote", "rungs": [1, 3], "keep": 0.1}
    sweep = SweepConfig.model_validate({**CONTENT, "budget": budget, "pruner": pruner})
    inbox, clock = Inbox.of(workspace.study("s")), clock_of(sweep)
    stopping = once(3, 1, Stop())
    observer = Acting(lambda number, metrics: stopping(inbox, number, metrics.epoch))
    deadline = Deadline(clock, sweep.budget.time) if sweep.budget.time else None
    rows = simulated(workspace, sweep, observer, workers="1", clock=clock, deadline=deadline).rows
    complete = [row.epochs for row in rows if row.state is TrialState.COMPLETE]
    assert complete == [9] * whole
    assert [row.state for row in rows].count(TrialState.PAUSED) == 4 - whole


def test_a_skipped_trial_ends_with_its_epoch_and_says_so(workspace: Workspace) -> None:
    rows, _ = run(workspace, once(2, 1, Skip(number=2)))
    assert [row.state for row in rows].count(TrialState.COMPLETE) == 4
    assert (rows[2].state, rows[2].epochs, rows[2].reason) == (TrialState.PRUNED, 2, "skipped on request")


def dies_when_told(workspace: Workspace, request: Request, at: tuple[int, int] = (1, 1)) -> None:
    """Let a driver carry a request out at an epoch, and die before it says so."""

    class Dying(Acting):
        def steered(self, what: str, budget: int) -> None:
            raise StudyError("the machine is lost")

    inbox = Inbox.of(workspace.study("s"))
    act = once(*at, request)
    with pytest.raises(StudyError, match="lost"):
        simulated(workspace, SPACE, Dying(lambda number, metrics: act(inbox, number, metrics.epoch)), workers="1")
    (left,) = inbox.folder.glob("*.taken")
    assert REQUEST.validate_json(left.read_bytes()) == request


def answers(workspace: Workspace) -> list[str]:
    return [path.read_text() for path in Inbox.of(workspace.study("s")).folder.iterdir()]


def test_a_skip_that_was_accepted_holds_over_the_death_of_its_driver(workspace: Workspace) -> None:
    dies_when_told(workspace, Skip(number=1))
    rows, _ = run(workspace, lambda *_: None)
    assert (rows[1].state, rows[1].epochs, rows[1].reason) == (TrialState.PRUNED, 2, "skipped on request")
    assert [row.state for row in rows].count(TrialState.COMPLETE) == 4
    assert answers(workspace) == ["trial 1 ends with the epoch that it is in"]


def test_what_was_queued_by_a_driver_that_died_is_queued(workspace: Workspace) -> None:
    mine = Enqueue(name="mine", settings={"weight_decay": 0.25})
    dies_when_told(workspace, mine)
    rows, _ = run(workspace, once(2, 2, mine, Enqueue(name="mine", settings={"weight_decay": 0.5})))
    assert [row.params["weight_decay"] for row in rows].count(0.25) == 1
    first, *others = sorted(answers(workspace))
    assert first == "mine is queued"
    assert others == ["mine was queued before; choose another --name"] * 2


def test_what_is_queued_comes_next_with_its_settings(workspace: Workspace) -> None:
    rows, watching = run(workspace, once(0, 1, Enqueue(name="mine", settings={"weight_decay": 0.25})))
    assert rows[1].params["weight_decay"] == 0.25
    assert len(rows) == 5
    assert watching.heard == ["enqueue: mine is queued"]


def test_more_trials_or_fewer(workspace: Workspace) -> None:
    rows, watching = run(workspace, once(0, 1, SetTrials(trials=8)))
    assert len(rows) == 8
    assert watching.budget == 8
    fewer, _ = run(Workspace(workspace.root / "fewer"), once(0, 1, SetTrials(trials=2)))
    assert len(fewer) == 2


def test_more_workers_train_at_the_same_time_and_fewer_again(workspace: Workspace) -> None:
    def act(inbox: Inbox, number: int, epoch: int) -> None:
        if (number, epoch) in {(0, 1), (4, 1)}:
            inbox.put(SetWorkers(workers=3 if number == 0 else 1))

    rows, watching = run(workspace, act, trials=9)
    assert max(watching.at_once.values()) == 3
    assert watching.at_once[0] == watching.at_once[8] == 1
    assert {row.state for row in rows} == {TrialState.COMPLETE}
    assert watching.heard == ["set: 3 trials at the same time", "set: one trial at a time"]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Skip(number=4), "trial 4 of s does not run now; `sweeper status s` shows which do"),
        (Enqueue(name="x", settings={"weight_decay": 7}), "not in the search space of s: "),
        (Enqueue(name="x", settings={"colour": 7}), "not in the search space of s: "),
        (SetTrials(trials=1), "has 2 trials already; set 2 or more"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason_and_changes_nothing(
    workspace: Workspace, request_: Request, told: str
) -> None:
    left: list[Path] = []

    def act(inbox: Inbox, number: int, epoch: int) -> None:
        if (number, epoch) == (1, 1):
            left.append(inbox.put(request_))

    rows, watching = run(workspace, act)
    assert len(rows) == 5
    assert {row.state for row in rows} == {TrialState.COMPLETE}
    assert watching.heard == []
    with pytest.raises(StudyError, match=told):
        wait_for_answer(left[0], 0)


def test_a_paused_study_waits_and_then_trains_as_if_nothing_had_been(workspace: Workspace) -> None:
    begun: list[int] = []

    def act(inbox: Inbox, number: int, epoch: int) -> None:
        def go_on() -> None:
            begun.extend(folder.number for folder in workspace.study("s").trials())
            inbox.put(Resume())

        if (number, epoch) == (1, 2):
            inbox.put(Pause())
            threading.Timer(1.0, go_on).start()

    paused, watching = run(workspace, act)
    assert set(begun) <= {0, 1}, "no trial was started meanwhile"
    assert [what.partition(":")[0] for what in watching.heard] == ["pause", "resume"]
    plain, _ = run(Workspace(workspace.root / "plain"), lambda *_: None)
    assert [(row.value, row.params) for row in paused] == [(row.value, row.params) for row in plain]


def test_who_lets_a_study_go_on_that_was_not_paused_is_told(workspace: Workspace) -> None:
    def act(inbox: Inbox, number: int, epoch: int) -> None:
        if (number, epoch) == (0, 1):
            inbox.put(Resume())

    _, watching = run(workspace, act)
    assert watching.heard == ["resume: it was not paused, and goes on as before"]


def test_a_trial_that_is_skipped_while_it_waits_trains_no_further_epoch(workspace: Workspace) -> None:
    def act(inbox: Inbox, number: int, epoch: int) -> None:
        if (number, epoch) == (1, 1):
            inbox.put(Pause())
        if (number, epoch) == (1, 2):  # the pause has come between the two
            inbox.put(Skip(number=1))
            inbox.put(Resume())

    rows, _ = run(workspace, act, trials=3)
    assert (rows[1].state, rows[1].epochs, rows[1].reason) == (TrialState.PRUNED, 2, "skipped on request")
    assert [row.epochs for row in rows] == [3, 2, 3]


def test_what_nobody_can_read_is_thrown_away(workspace: Workspace) -> None:
    def act(inbox: Inbox, number: int, epoch: int) -> None:
        if (number, epoch) == (0, 1):
            inbox.folder.mkdir(exist_ok=True)
            (inbox.folder / "0.json").write_text("{")
            (inbox.folder / "1.json").write_text('{"kind": "delete everything"}')

    rows, watching = run(workspace, act)
    assert len(rows) == 5
    assert watching.heard == []


def test_the_driver_makes_the_folder_of_requests(workspace: Workspace) -> None:
    """Else it would belong to who asks first, who may be root."""
    simulated(workspace, SPACE, Acting(lambda *_: None))
    assert Inbox.of(workspace.study("s")).folder.is_dir()


def test_a_stop_that_comes_while_the_study_gets_ready_is_obeyed(workspace: Workspace) -> None:
    class Early(Acting):
        def study_opened(self, sweep: SweepConfig, rows: list[TrialRow], budget: int) -> None:
            Inbox.of(workspace.study("s")).put(Stop())

    observer = Early(lambda *_: None)
    result = simulated(workspace, SPACE, observer, workers="1")
    assert result.rows == []
    assert observer.stopped_because == "`sweeper stop` asked for it"


def test_nothing_is_set_for_trials_that_no_longer_start(workspace: Workspace) -> None:
    left: list[Path] = []

    def act(inbox: Inbox, number: int, epoch: int) -> None:
        if (number, epoch) == (1, 1):
            requests: tuple[Request, ...] = (Stop(), SetTrials(trials=7), SetWorkers(workers=2))
            left.extend(inbox.put(request) for request in requests)

    rows, watching = run(workspace, act)
    assert len(rows) == 2
    assert watching.heard == ["stop: no more trials are started; those that run are finished"]
    for path in left[1:]:
        with pytest.raises(StudyError, match=r"s starts no more trials \(`sweeper stop` asked for it\)"):
            wait_for_answer(path, 0)


def test_what_finds_no_place_in_the_queue_is_told_why(workspace: Workspace) -> None:
    content = {"study": "s", "dataset": {"path": "nowhere"}, "budget": {"trials": 5}}
    search = {"backbone": "r", "weight_decay": {"choice": [0.0, 0.1]}}
    sweep = SweepConfig.model_validate({**content, "search": search})
    store = StudyStore.create_or_load(f"sqlite:///{workspace.optuna_database}", sweep)
    inbox, reach = Inbox.of(workspace.study("s")), Reach(lambda _: False, lambda _: None, lambda _: None)
    for name, decay, told in (
        ("first", 0.1, None),
        ("first", 0.1, None),  # it is there already, and once
        ("first", 0.0, "first was queued before; choose another --name"),
        ("second", 0.1, None),
        ("third", 0.1, "all 2 combinations that the search space of s holds are tried or queued"),
    ):
        path = inbox.put(Enqueue(name=name, settings={"weight_decay": decay}))
        Steering(workspace.study("s"), store).heed(reach, lambda _: None)
        if told is None:
            assert wait_for_answer(path, 0) == f"{name} is queued"
        else:
            with pytest.raises(StudyError, match=told):
                wait_for_answer(path, 0)


def test_a_grid_takes_nothing_into_its_line(workspace: Workspace) -> None:
    sweep = SweepConfig.model_validate(
        {
            "study": "s",
            "dataset": {"path": "nowhere"},
            "sampler": "grid",
            "search": {"backbone": "r", "weight_decay": {"choice": [0.0, 0.1]}},
        }
    )
    store = StudyStore.create_or_load(f"sqlite:///{workspace.optuna_database}", sweep)
    folder = workspace.study("s")
    path = Inbox.of(folder).put(Enqueue(name="mine", settings={"weight_decay": 0.1}))
    reach = Reach(live=lambda _: False, stop=lambda _: None, resize=lambda _: None)
    Steering(folder, store).heed(reach, lambda _: None)
    with pytest.raises(StudyError, match="the sampler grid of s tries every combination anyway"):
        wait_for_answer(path, 0)
