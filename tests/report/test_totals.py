"""What the report says of all trials together."""

from __future__ import annotations

from typing import Any

from sweeper.display.forecast import Forecast
from sweeper.report.selection import totals_payload
from sweeper.results import TrialOutcome, TrialRow, TrialState
from sweeper.study.summary import optimization_history
from tests.report.studies import sweep_of
from tests.standings.test_ranking import row


def row_of(number: int, **about: Any) -> TrialRow:
    outcome = TrialOutcome(state=TrialState.PRUNED, epochs=1, seconds=6.0, **about)
    known: dict[str, Any] = {"value": None, "best_epoch": None, "params": {}, "config_json": None, "reason": None}
    return TrialRow(number=number, state=outcome.state, epochs=1, seconds=6.0, ended_ms=1, outcome=outcome, **known)


def test_only_what_a_pruner_has_ended_counts_as_saved() -> None:
    sweep = sweep_of("s", 3, data="nowhere")
    rows = [row_of(0), row_of(1, cut=True), row_of(2, feasible=False)]
    assert totals_payload(rows, sweep)["saved"] == 6.0 * (sweep.reports - 1) > 0


def test_a_trial_that_an_edited_search_space_left_out_raises_nothing() -> None:
    left_out = row(0, 0.99).model_copy(update={"outside": "backbone: 'a' is not 'b'", "ended_ms": 1})
    rows = [left_out, row(1, 0.5).model_copy(update={"ended_ms": 2})]
    sweep = sweep_of("s", 3, data="nowhere")
    assert totals_payload(rows, sweep)["steps"] == [(2, 0.5)]
    assert [point.values.get("best/value") for point in optimization_history(sweep, rows)] == [None, 0.5]
    assert Forecast(rows, 3, sweep).best == 0.5
