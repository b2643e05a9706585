"""What pruning saves, in the terminal and in the report."""

from __future__ import annotations

from typing import Any

from sweeper.results import TrialOutcome, TrialState
from sweeper.standings.saving import saved_by, saved_seconds


def pruned(epochs: int, seconds: float, **others: Any) -> TrialOutcome:
    return TrialOutcome(state=TrialState.PRUNED, epochs=epochs, seconds=seconds, **others)


def test_what_pruning_saved_goes_by_the_pace_of_each_trial() -> None:
    assert saved_by(pruned(2, 6.0), 10) == 24.0
    assert saved_by(pruned(2, 6.0, reason="paused after epoch 2, and others were better"), 10) == 24.0
    assert saved_by(pruned(0, 6.0), 10) == saved_by(pruned(10, 6.0), 10) == 0.0
    assert saved_by(pruned(102, 6.0, epochs_before=100), 110) == 24.0  # it goes on from another trial
    assert saved_by(pruned(12, 6.0), 10) == 0.0  # the epochs were planned anew


def test_what_no_pruner_has_ended_saves_nothing() -> None:
    assert saved_by(pruned(2, 6.0, cut=True, reason="it is trained again"), 10) == 0.0
    assert saved_by(pruned(2, 6.0, feasible=False, reason="does not fit in memory"), 10) == 0.0
    assert saved_by(TrialOutcome(state=TrialState.FAILED, epochs=2, seconds=6.0), 10) == 0.0
    assert saved_seconds([], 10) == 0.0
