"""What a running study is asked for: it does it once, in order, and says why where it cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.config.sweep import SweepConfig
from sweeper.errors import StudyError
from sweeper.paths import StudyFolder, Workspace
from sweeper.results import EpochMetrics, TrialOutcome, TrialRow, TrialSpec, TrialState
from sweeper.search.study_store import StudyStore
from sweeper.study.requests import (
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


def run(workspace: Workspace, act: Callable[[Inbox, int, int], None], trials: int = 5) -> tuple[list[TrialRow], Acting]:
    content: dict[str, Any] = {
        "study": "s",
        "dataset": {"path": "nowhere"},
        "budget": {"trials": trials, "epochs": 3},
        "pruner": "none",
        "search": {"backbone": "r", "weight_decay": {"float": [0, 1]}},
        "engine": {"name": "simulate"},
    }
    sweep = SweepConfig.model_validate(content)
    inbox = Inbox.of(workspace.study("s"))
    observer = Acting(lambda number, metrics: act(inbox, number, metrics.epoch))
    result = simulated(workspace, sweep, observer, workers="1")
    assert list(inbox.folder.glob("*.json")) == []
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
    assert len(again) == 5, "the same command goes on"


def test_a_skipped_trial_ends_with_its_epoch_and_says_so(workspace: Workspace) -> None:
    rows, _ = run(workspace, once(2, 1, Skip(number=2)))
    assert [row.state for row in rows].count(TrialState.COMPLETE) == 4
    assert (rows[2].state, rows[2].epochs, rows[2].reason) == (TrialState.PRUNED, 2, "skipped on request")


def test_what_is_put_in_line_comes_next_with_its_settings(workspace: Workspace) -> None:
    rows, watching = run(workspace, once(0, 1, Enqueue(name="mine", settings={"weight_decay": 0.25})))
    assert rows[1].params["weight_decay"] == 0.25
    assert len(rows) == 5
    assert watching.heard == ["enqueue: mine is in line"]


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


def test_an_unanswered_request_is_withdrawn(tmp_path: Path) -> None:
    path = Inbox.of(StudyFolder(tmp_path)).put(Stop())
    assert not wait_for_answer(path, 0)
    assert not path.exists()


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
