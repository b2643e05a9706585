"""Whether a search goes on: it may end when no improvement of a chosen size is likely any more."""

from __future__ import annotations

from sweeper.search.study_store import StudyStore


def saturated(store: StudyStore) -> str | None:
    """Return why no more trials are started, None while an improvement is likely enough, or none is asked for."""
    wanted = store.sweep.budget.stop_when
    if wanted is None or (bound := store.regret_bound(wanted.trials)) >= wanted.gain:
        return None
    metric = store.sweep.objective.metric
    return (
        f"no further trial is likely to be better by {wanted.gain:g} in {metric}: the bound is {bound:.2g} "
        "(budget.stop_when)"
    )
