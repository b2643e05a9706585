"""What pruning saves: the time that pruned trials would have taken for the rest of their epochs."""

from __future__ import annotations

from collections.abc import Iterable

from sweeper.results import TrialOutcome, TrialRow, TrialState


def saved_seconds(rows: Iterable[TrialRow], of_epochs: int) -> float:
    """Return the seconds that pruned trials would have taken for the rest of their epochs, at the pace of each."""
    return sum(saved_by(row.outcome, of_epochs) for row in rows if row.outcome is not None)


def saved_by(outcome: TrialOutcome, of_epochs: int) -> float:
    """Return what pruning a trial has saved; nothing where it had no epoch, or where no pruner has ended it."""
    pruned = outcome.state is TrialState.PRUNED and outcome.feasible and not outcome.cut
    left, own = max(0, of_epochs - outcome.epochs), outcome.epochs - outcome.epochs_before
    return left * outcome.seconds / own if pruned and own else 0.0
