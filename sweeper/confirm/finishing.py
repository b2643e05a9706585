"""The end of a run with a deadline: the best trial is exported, the best few are trained again, and what leads then."""

from __future__ import annotations

import time
from collections.abc import Callable

from sweeper.results import TrialState
from sweeper.search.study_store import StudyStore
from sweeper.standings.winner import study_winner
from sweeper.study.deadline import Confirming, Deadline


def finish_by(
    deadline: Deadline,
    store: StudyStore,
    export: Callable[[int], object],
    confirm: Callable[[Confirming | None], object],
) -> bool:
    """Use what is left of the time after the search, and return whether a trial was exported.

    Args:
        deadline: When the best model is to be there.
        store: The study whose search has ended.
        export: Exports the trial of a number.
        confirm: Trains the best trials again as planned; None stands for too little time.
    """
    winner = study_winner(store)
    if winner is None:
        return False
    began = time.monotonic()
    export(winner.number)
    deadline.exported(time.monotonic() - began)
    rows = store.rows()
    deadline.pace.count_earlier(rows)
    complete = sum(row.state is TrialState.COMPLETE for row in rows)
    confirm(deadline.confirming(store.sweep.budget.epochs, complete))
    confirmed = study_winner(store)
    if confirmed is not None and confirmed.number != winner.number:
        export(confirmed.number)
    return True
