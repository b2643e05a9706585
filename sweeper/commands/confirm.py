"""`sweeper confirm`: the best trials trained again with fresh seeds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.leaving import leave, reason
from sweeper.commands.options import RecordedOption, StorageOption, StudyArgument, WorkersOption
from sweeper.commands.studies import open_study, this_workspace
from sweeper.commands.terminal import out, progress_bar, say, show, warn

if TYPE_CHECKING:
    from sweeper.confirm.run import Confirmed
    from sweeper.paths import Workspace
    from sweeper.search.study_store import StudyStore
    from sweeper.study.time_limit import TimeLimit


def confirm(
    study: StudyArgument = None,
    top: Annotated[
        int, typer.Option(min=1, help="How many of the best are trained again, beside the one confirmed before.")
    ] = 5,
    seeds: Annotated[int, typer.Option(min=2, help="How often each is trained, each time with a fresh seed.")] = 5,
    workers: WorkersOption = None,
    look_again: Annotated[bool, typer.Option("--look-again", help="Measure on the test split again.")] = False,
    storage: StorageOption = None,
    tracking_uri: RecordedOption = None,
) -> None:
    """Train the best trials again with fresh seeds, say which is really best, and look at the test split once.

    After an interruption run the same command again to continue; more trials or seeds add to what has been trained.
    """
    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    _require_free_look(workspace, store.sweep.study, again=look_again)
    result = confirm_and_tell(workspace, store, top=top, seeds=seeds, workers=workers, tracking_uri=tracking_uri)
    if result.judged is not None:
        _look(workspace, store, result.judged.winner.trial, tracking_uri, again=look_again)
    result.run.require_taken(store.sweep.study)


def confirm_and_tell(
    workspace: Workspace,
    store: StudyStore,
    *,
    top: int,
    seeds: int,
    workers: str | None,
    tracking_uri: str | None,
    limit: TimeLimit | None = None,
) -> Confirmed:
    """Train the best trials again, show how that goes and what it says.

    Ends the program where it was interrupted. Nothing is judged where `limit` or `sweeper stop` has left too little.
    """
    from sweeper.commands.running import say_undelivered
    from sweeper.confirm.run import confirm_leaders
    from sweeper.display.confirmation import confirmation_table, confirmed_lines
    from sweeper.display.live import LiveTable
    from sweeper.display.plain import PlainLines
    from sweeper.engines.starting import start_engine
    from sweeper.errors import NoWinner
    from sweeper.study.recorded import tracking_uri_for

    sweep, folder = store.sweep, workspace.study(store.sweep.study).confirmation
    view = LiveTable if out.is_terminal else PlainLines
    with view(out, "repetition") as observer:
        result = confirm_leaders(
            store,
            top=top,
            seeds=seeds,
            workspace=workspace,
            tracking_uri=tracking_uri_for(workspace, store, tracking_uri),
            engine=lambda: start_engine(sweep, workspace, workers, folder),
            observer=observer,
            limit=limit,
        )
    if limit is not None or result.run.interrupted or not result.run.refused:  # else the end says why
        say_undelivered(result.run, sweep.study)
    if result.nothing is not None:
        raise NoWinner(result.nothing)
    if result.judged is None and limit is not None and not result.run.interrupted:
        return result
    if result.judged is None:
        say(f"unfinished ({result.run.stopped_because or reason(result.run)}); run the same command again to continue")
        if not result.run.interrupted:
            return result
        leave(result.run)
    show(confirmation_table(result.judged))
    for line in confirmed_lines(result.judged, result.judged.known_trials):
        say(line)
    return result


def _require_free_look(workspace: Workspace, study: str, *, again: bool) -> None:
    """Raise ConfigError, before the long work, where a look would replace files that were edited."""
    from sweeper.confirm.test_split import looks
    from sweeper.finished.evaluation_files import outputs_of
    from sweeper.safeguards.outputs import require_free

    if again or not looks(workspace.study(study)):
        require_free(outputs_of(workspace.evaluation(study, "test"), "evaluation", force=None))


def _look(workspace: Workspace, store: StudyStore, winner: int, tracking_uri: str | None, *, again: bool) -> None:
    """Measure the winner on the test split if that is new or asked for; show and record all looks.

    Raises TrackingRefused.
    """
    from sweeper.confirm.looking import look_at_test_split, record_looks
    from sweeper.confirm.test_split import looks
    from sweeper.display.confirmation import look_lines
    from sweeper.errors import DatasetError, StudyError, TrackingError, TrackingRefused
    from sweeper.safeguards.printable import one_line
    from sweeper.training.device import device_of_study

    folder = workspace.study(store.sweep.study)
    if again or not looks(folder):
        on, now_ms = device_of_study(store.sweep.device, store.sweep.precision), int(time.time() * 1000)
        try:
            with progress_bar("decoding") as progress:
                look_at_test_split(
                    workspace, store, winner, device=on, tracking_uri=tracking_uri, now_ms=now_ms, progress=progress
                )
        except DatasetError as error:
            warn(f"not measured on a test split: {error}")
    for line in look_lines(looks(folder), winner):
        say(line)
    try:
        record_looks(workspace, store, tracking_uri)
    except TrackingRefused:
        raise
    except (StudyError, TrackingError) as error:
        later = f"the look at the test split is kept here; `sweeper sync {store.sweep.study}` records it in MLflow"
        warn(f"{later}: {one_line(str(error))}")
