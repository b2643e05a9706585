"""The end of a run with a deadline: the best trial is exported, the best few are trained again, and what leads then."""

from __future__ import annotations

import time

from sweeper.confirm.run import confirm_leaders
from sweeper.engines.starting import start_engine
from sweeper.library.study import Study
from sweeper.results import TrialState
from sweeper.standings.winner import study_winner
from sweeper.study.card import tracking_uri_of
from sweeper.study.deadline import ConfirmingLimit, Deadline
from sweeper.study.observer import Observer


def finish_by(deadline: Deadline, study: Study, workers: str | None, observer: Observer) -> None:
    """Use what is left of the time after the search; where no trial has finished, nothing is done."""
    store, winner = study.store, study_winner(study.store)
    if winner is None:
        return
    began = time.monotonic()
    study.trial(winner.number).export(study.workspace.export(study.name))
    deadline.exported(time.monotonic() - began)
    complete = sum(row.state is TrialState.COMPLETE for row in store.rows())
    plan = deadline.confirming(store.sweep.budget.epochs, complete)
    if plan is None:
        return
    folder = study.workspace.study(study.name).confirmation
    confirm_leaders(
        store,
        top=plan.leaders,
        seeds=plan.seeds,
        workspace=study.workspace,
        tracking_uri=tracking_uri_of(study.workspace, study.name, study.tracking_uri),
        engine=lambda: start_engine(store.sweep, study.workspace, workers, folder),
        observer=observer,
        limit=ConfirmingLimit(deadline, store.sweep.budget.epochs),
    )
    confirmed = study_winner(store)
    if confirmed is not None and confirmed.number != winner.number:
        study.trial(confirmed.number).export(study.workspace.export(study.name))
