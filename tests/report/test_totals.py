"""What the report says of all trials together."""

from __future__ import annotations

from typing import Any

from sweeper.report.selection import totals_payload
from sweeper.results import TrialOutcome, TrialRow, TrialState
from tests.report.studies import sweep_of


def row_of(number: int, **about: Any) -> TrialRow:
    outcome = TrialOutcome(state=TrialState.PRUNED, epochs=1, seconds=6.0, **about)
    known: dict[str, Any] = {"value": None, "best_epoch": None, "params": {}, "config_json": None, "reason": None}
    return TrialRow(number=number, state=outcome.state, epochs=1, seconds=6.0, ended_ms=1, outcome=outcome, **known)


def test_only_what_a_pruner_has_ended_counts_as_saved() -> None:
    sweep = sweep_of("s", 3, data="nowhere")
    rows = [row_of(0), row_of(1, cut=True), row_of(2, feasible=False)]
    assert totals_payload(rows, sweep)["saved"] == 6.0 * (sweep.reports - 1) > 0
