"""What `sweeper run` says and does after the search of a study with a deadline."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from sweeper.commands.terminal import say, warn

if TYPE_CHECKING:
    from sweeper.commands.notifying import Underway
    from sweeper.config.sweep import SweepConfig
    from sweeper.paths import Workspace
    from sweeper.search.study_store import StudyStore
    from sweeper.study.deadline import Confirming, Deadline


def finish_and_tell(
    deadline: Deadline,
    workspace: Workspace,
    sweep: SweepConfig,
    *,
    storage: str | None,
    tracking_uri: str,
    workers: str | None,
    underway: Underway,
    asked_to_stop: bool = False,
) -> bool:
    """Export and confirm in what is left of the time, and return whether the best model is exported.

    Who has asked the search to stop gets no confirmation. `underway` is told what is exported before it. What goes
    wrong is told: the search is not lost by it.
    """
    from sweeper.commands.exporting import register_if_possible
    from sweeper.commands.studies import open_study
    from sweeper.config.engine import SimulateConfig
    from sweeper.confirm.finishing import finish_by
    from sweeper.display.tables import duration
    from sweeper.errors import SweeperError
    from sweeper.finished.tasks import finished_task

    if isinstance(sweep.engine, SimulateConfig):
        return False
    store = open_study(workspace, storage, sweep.study)
    exported: list[int] = []
    export = partial(_export, workspace, store, tracking_uri, exported)
    confirm = partial(_confirm, deadline, workspace, store, workers, tracking_uri, underway)
    if asked_to_stop:
        confirm = partial(_say_not_confirmed, sweep.study)
    if deadline.left_s < 0 and _is_held(workspace, store):
        say(f"the time is used up, and {workspace.export(sweep.study)} holds the best trial{_how_to_register(sweep)}")
        _say_of_later_trials(store)
        say("a longer time goes on with the search, such as --for 2h")
        return True
    try:
        if not finish_by(deadline, store, workspace, export, confirm):
            return False
    except SweeperError as error:
        warn(f"{error}\nThe search is complete and nothing of it is lost; later: {_later(sweep.study)}")
    held = _is_held(workspace, store)
    if exported and finished_task(sweep).registered:
        register_if_possible(workspace, workspace.export(sweep.study), tracking_uri)
    if held and not exported:
        say(f"{workspace.export(sweep.study)} holds the best trial already{_how_to_register(sweep)}")
    _say_of_later_trials(store)
    left_s = deadline.left_s
    say(f"{duration(abs(left_s))} {'before' if left_s > 0 else 'after'} the deadline")
    return held


def _how_to_register(sweep: SweepConfig) -> str:
    """Say how an export of an earlier run is registered, which may have been interrupted before that."""
    from sweeper.finished.tasks import finished_task

    registered = finished_task(sweep).registered
    return f"; if it is not registered yet: sweeper register {sweep.study}" if registered else ""


def _say_of_later_trials(store: StudyStore) -> None:
    """Say where trials have ended that the confirmation knew nothing of, so that the best may be among them."""
    from sweeper.display.confirmation import since_then
    from sweeper.errors import SweeperError
    from sweeper.standings.winner import confirmed

    with suppress(SweeperError):  # the storage is away, which has been told
        found = confirmed(store)
        if found is not None and (later := since_then(found, sum(row.ended_ms is not None for row in store.rows()))):
            say(f"trial {found.winner.trial} was confirmed before: {later}")


def _is_held(workspace: Workspace, store: StudyStore) -> bool:
    """Return whether the export of a study holds its best trial, as far as can be seen."""
    from sweeper.confirm.finishing import is_exported
    from sweeper.errors import SweeperError
    from sweeper.standings.winner import study_winner

    try:
        winner = study_winner(store)
        return winner is not None and is_exported(workspace, store, winner.number)
    except SweeperError:  # the storage is away, which has been told
        return False


def _say_not_confirmed(study: str, _plan: Confirming | None) -> None:
    say(f"not confirmed, since `sweeper stop` asked to end. To confirm: {_later(study)}")


def _later(study: str) -> str:
    return f"sweeper confirm {study}, then sweeper best {study} --export"


def _export(workspace: Workspace, store: StudyStore, tracking_uri: str, exported: list[int], number: int) -> None:
    from sweeper.commands import exporting

    row = store.rows()[number]
    say(f"exporting trial {number}, the best so far")
    destination = workspace.export(store.sweep.study)
    exporting.export(workspace, store, row, exporting.NOTHING_MORE, destination, tracking_uri, register=False)
    exported.append(number)


def _confirm(
    deadline: Deadline,
    workspace: Workspace,
    store: StudyStore,
    workers: str | None,
    tracking_uri: str,
    underway: Underway,
    plan: Confirming | None,
) -> None:
    """Train the best trials again, as many as there is time for."""
    from sweeper.commands.confirm import confirm_and_tell
    from sweeper.confirm.repetitions import leaders_of, leaders_to_confirm
    from sweeper.display.tables import duration
    from sweeper.errors import NoWinner, SweeperError
    from sweeper.standings.pareto import in_order
    from sweeper.standings.winner import confirmed
    from sweeper.study.deadline import ConfirmingLimit

    by_luck = "" if confirmed(store) else "; the best trial may be the best by luck"
    if plan is None:
        say(f"not confirmed: no time is left to train the best trials again{by_luck}")
        return
    underway.exported = _is_held(workspace, store)  # it may be interrupted
    left = duration(deadline.left_s - deadline.finish_s)
    leading = {row.number for row in leaders_of(in_order(store.rows(), store.sweep), plan.leaders)}
    earlier = [row.number for row in leaders_to_confirm(store, plan.leaders) if row.number not in leading]
    too = f", and trial {earlier[0]}, which was confirmed before," if earlier else ""
    say(f"training the {plan.leaders} best trials{too} again with up to {plan.seeds} fresh seeds each, for {left}")
    try:
        confirmation = confirm_and_tell(
            workspace,
            store,
            top=plan.leaders,
            seeds=plan.seeds,
            workers=workers,
            tracking_uri=tracking_uri,
            limit=ConfirmingLimit(deadline, store.sweep.budget.epochs),
        )
    except NoWinner as error:
        warn(f"not confirmed: {error}")
        return
    except SweeperError as error:
        warn(f"not confirmed: {error}\nThe best trial is exported anyway. To confirm: {_later(store.sweep.study)}")
        return
    if confirmation.judged is None:
        say(f"not confirmed: fewer than two fresh seeds of each were trained{by_luck}")
