"""Asking a study for trials one at a time."""

from __future__ import annotations

from sweeper.results import TrialSpec
from sweeper.search.study_store import StudyStore


def next_trial(store: StudyStore) -> TrialSpec | None:
    """Return the next trial, an interrupted one first; None when the budget is used up."""
    return next(iter(store.next_group(1)), None)
