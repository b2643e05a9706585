"""The view of a running study in a notebook."""

from __future__ import annotations

import pytest

import sweeper
from sweeper.library.events import EpochFinished
from sweeper.library.notebook import NotebookView
from sweeper.library.watching import Watching
from sweeper.results import EpochMetrics, TrialOutcome, TrialState
from tests.library.test_library import SPACE
from tests.standings.test_ranking import row as row_of


def test_the_view_of_a_running_study_counts_trials_and_escapes_what_it_shows() -> None:
    view = NotebookView()
    view._draw = lambda **_: None  # type: ignore[method-assign] # there is no notebook here
    sweep = sweeper.load_space(SPACE)
    view.opened(sweep.model_copy(update={"study": "<b>"}), [], 4)
    view.started(0, 3)
    view.epoch(0, EpochMetrics(epoch=1, values={"val/accuracy": 0.25}, timestamp_ms=0))
    assert "<td>1 of 3</td>" in view.html()
    view.ended(0, TrialOutcome(state=TrialState.COMPLETE, best_value=0.5, epochs=3, best_epoch=3))
    assert "1 of 4 trials, best val/accuracy 0.5000 (trial 0)" in view.html()
    assert "<b>&lt;b&gt;</b>" in view.html()
    for number in range(1, 15):
        view.started(number, 3)
        view.ended(number, TrialOutcome(state=TrialState.PAUSED, best_value=0.1, epochs=1, best_epoch=1))
    view.started(20, 3)
    shown = view.html()
    assert shown.count("<td>paused</td>") < 14
    assert "<td>running</td>" in shown
    view.planned(30)
    assert "1 of 30 trials" in view.html()


def test_a_trial_that_an_edited_search_space_left_out_is_not_the_best() -> None:
    view = NotebookView()
    view._draw = lambda **_: None  # type: ignore[method-assign] # there is no notebook here
    history = row_of(0, 0.9).model_copy(update={"outside": "backbone: 'a' is not 'b'"})
    view.opened(sweeper.load_space(SPACE), [history, row_of(1, 0.5)], 4)
    assert "2 of 4 trials, best val/accuracy 0.5000 (trial 1)" in view.html()


def test_callbacks_get_an_epoch_once_though_a_worker_that_goes_on_tells_it_again() -> None:
    told: list[object] = []
    watching = Watching([told.append], None)
    first = EpochMetrics(epoch=1, values={"val/accuracy": 0.25}, timestamp_ms=10)
    for metrics in (first, first, first.model_copy(update={"epoch": 2, "timestamp_ms": 20}), first):
        watching.epoch_finished(0, metrics)
    assert [event.epoch for event in told if isinstance(event, EpochFinished)] == [1, 2]


def test_the_view_of_a_study_that_a_time_limits_names_no_number_of_trials() -> None:
    view = NotebookView()
    view._draw = lambda **_: None  # type: ignore[method-assign] # there is no notebook here
    view.opened(sweeper.load_space({**SPACE, "budget": {"for": "2h"}}), [], 10_000)
    assert "0 trials" in view.html()
    assert "<progress" not in view.html()


def test_trouble_with_mlflow_is_told_once_as_long_as_it_stays_the_same(caplog: pytest.LogCaptureFixture) -> None:
    watching = Watching([], None)
    for trouble in ("it is away", "it is away", None, "it is away", "it refuses"):
        watching.tracking_trouble(trouble)
    told = [record.getMessage().partition(";")[0] for record in caplog.records]
    assert told == [
        "it is away",
        "it is away",
        "it refuses",
    ]
