"""The trial that stands for a study wherever one is meant: `best`, an export, a reference, a comparison."""

from __future__ import annotations

from sweeper.errors import NoWinner
from sweeper.results import TrialRow
from sweeper.search.stored_trial import CONFIRMATION
from sweeper.search.study_store import StudyStore
from sweeper.standings.confirmation import Confirmation
from sweeper.standings.no_winner import without_winner
from sweeper.standings.pareto import choose


def study_winner(store: StudyStore) -> TrialRow | None:
    """Return the trial that the last confirmation chose, else the best of those that finished; None where none has."""
    rows, found = store.rows(), confirmed(store)
    return choose(rows, store.sweep) if found is None else rows[found.winner.trial]


def winner_of(store: StudyStore) -> TrialRow:
    """Return the same. Raises NoWinner, with the reasons, where none has finished."""
    row = study_winner(store)
    if row is None:
        raise NoWinner(without_winner(store.sweep.study, store.rows()))
    return row


def confirmed(store: StudyStore) -> Confirmation | None:
    """Return what the last confirmation of a study has found, or None."""
    stored = store.noted(CONFIRMATION)
    return Confirmation.model_validate(stored) if stored else None
