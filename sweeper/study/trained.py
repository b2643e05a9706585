"""Whether the trials of a study were trained, or simulated: then there are no weights, and no result is of use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeper.errors import StudyError
from sweeper.results import SIMULATED
from sweeper.search.stored_trial import CARD
from sweeper.search.study_store import StudyStore


def is_simulated(store: StudyStore) -> bool:
    """Tell whether nothing was trained in a study."""
    card: Mapping[str, Any] = store.noted(CARD) or {}
    return bool(card.get("dataset", {}).get("digest") == SIMULATED)


def require_trained(store: StudyStore) -> None:
    """Raise StudyError where nothing was trained in a study."""
    if is_simulated(store):
        raise not_trained(store.sweep.study)


def not_trained(study: str) -> StudyError:
    return StudyError(
        f"the study {study} was simulated: its trials followed learning curves, nothing was trained and there are no "
        "weights. For real results run its search space under another `study:` name with engine: local"
    )
