"""The end of a run with a deadline: the best trial is exported, the best few are trained again, and what leads then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sweeper.commands.terminal import say, warn

if TYPE_CHECKING:
    from sweeper.config.sweep import SweepConfig
    from sweeper.paths import Workspace
    from sweeper.search.study_store import StudyStore
    from sweeper.study.deadline import Deadline
    from sweeper.study.result import SweepResult


def finish_by(
    deadline: Deadline,
    result: SweepResult,
    workspace: Workspace,
    sweep: SweepConfig,
    *,
    storage: str | None,
    tracking_uri: str,
    workers: str | None,
) -> bool:
    """Use what is left of the time after the search, and return whether the best model is exported.

    What goes wrong is told: the search is not lost by it.
    """
    from sweeper.commands.exporting import register_if_possible
    from sweeper.commands.studies import open_study
    from sweeper.config.engine import SimulateConfig
    from sweeper.display.tables import duration
    from sweeper.errors import SweeperError
    from sweeper.finished.tasks import finished_task
    from sweeper.standings.winner import study_winner

    if isinstance(sweep.engine, SimulateConfig):
        return False
    store = open_study(workspace, storage, sweep.study)
    winner = study_winner(store)
    if winner is None:
        return False
    folder, exported = workspace.export(sweep.study), False
    try:
        began = time.monotonic()
        _export(workspace, store, winner.number, tracking_uri)
        deadline.exported(time.monotonic() - began)
        _confirm(deadline, result, workspace, store, workers, tracking_uri)
        confirmed = study_winner(store)
        if confirmed is not None and confirmed.number != winner.number:
            _export(workspace, store, confirmed.number, tracking_uri)
        if finished_task(sweep).registered:
            register_if_possible(workspace, folder, tracking_uri)
        exported = True
    except SweeperError as error:
        later = f"sweeper confirm {sweep.study}, then sweeper best {sweep.study} --export"
        warn(f"{error}\nThe search is complete and nothing of it is lost; later: {later}")
    left_s = deadline.left_s
    say(f"{duration(abs(left_s))} {'before' if left_s > 0 else 'after'} the deadline")
    return exported


def _export(workspace: Workspace, store: StudyStore, number: int, tracking_uri: str) -> None:
    from sweeper.commands import exporting

    row = store.rows()[number]
    say(f"exporting trial {number}, the best so far")
    destination = workspace.export(store.sweep.study)
    exporting.export(workspace, store, row, exporting.NOTHING_MORE, destination, tracking_uri, register=False)


def _confirm(
    deadline: Deadline,
    result: SweepResult,
    workspace: Workspace,
    store: StudyStore,
    workers: str | None,
    tracking_uri: str,
) -> None:
    """Train the best trials again, as many as there is time for."""
    from sweeper.commands.confirm import confirm_and_tell
    from sweeper.display.tables import duration
    from sweeper.results import TrialState
    from sweeper.study.deadline import ConfirmingLimit

    epochs = store.sweep.budget.epochs
    complete = sum(row.state is TrialState.COMPLETE for row in result.rows)
    plan = deadline.confirming(epochs, complete)
    if plan is None:
        say("not confirmed: no time is left to train the best trials again; the best trial may be the best by luck")
        return
    left = duration(deadline.left_s - deadline.finish_s)
    say(f"training the {plan.leaders} best trials again with up to {plan.seeds} fresh seeds each, for {left}")
    judged = confirm_and_tell(
        workspace,
        store,
        top=plan.leaders,
        seeds=plan.seeds,
        workers=workers,
        tracking_uri=tracking_uri,
        limit=ConfirmingLimit(deadline, epochs),
    )
    if judged is None:
        say("not confirmed: the time was too short for two fresh seeds of each; the best trial may be the best by luck")
