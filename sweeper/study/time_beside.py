"""The time that runs with a deadline have spent on a study beside its trials: preparing, exporting and confirming."""

from __future__ import annotations

from sweeper.search.stored_trial import SECONDS_BESIDE
from sweeper.search.study_store import StudyStore


def seconds_beside(store: StudyStore) -> float:
    """Return the seconds of all runs so far."""
    return float((store.noted(SECONDS_BESIDE) or {}).get("seconds", 0.0))


def add_seconds_beside(store: StudyStore, seconds: float) -> None:
    """Store seconds beside those that are known."""
    store.note(SECONDS_BESIDE, {"seconds": seconds_beside(store) + seconds})
