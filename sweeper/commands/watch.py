"""`sweeper watch`: a running study from another terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import StorageOption, StudyArgument
from sweeper.commands.studies import open_study, this_workspace
from sweeper.commands.terminal import out, redrawn, show

if TYPE_CHECKING:
    from sweeper.display.watch import View
    from sweeper.paths.study import StudyFolder
    from sweeper.results import TrialRow
    from sweeper.search.study_store import StudyStore

AROUND = 8
"""Lines of a terminal beside those of the trials."""

LINES_OF_A_PIPE = 20

BETWEEN_PARTS_S = 5.0
"""Nobody holds a study for a moment between its search, the export and the confirmation that a deadline asks for."""


def watch(
    study: StudyArgument = None,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    storage: StorageOption = None,
) -> None:
    """Show a study while it runs: trials, curves, the best so far, the time left. Ctrl-C ends the view alone.

    It ends when the study does. Without a terminal it shows the study once.
    """
    from sweeper.study.lock import is_running

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    folder = workspace.study(store.sweep.study)
    if not out.is_terminal:
        show(_view(store, folder, LINES_OF_A_PIPE, running=is_running(folder)))
        return
    try:
        with redrawn() as draw:
            seen_running = float("-inf")
            while True:
                running = is_running(folder)
                seen_running = time.monotonic() if running else seen_running
                draw(_view(store, folder, max(3, out.size.height - AROUND), running=running))
                between_parts = (
                    time.monotonic() - seen_running < every + BETWEEN_PARTS_S and store.sweep.budget.time is not None
                )
                if not running and not between_parts:
                    return
                time.sleep(every)
                store = open_study(workspace, storage, store.sweep.study)  # its epochs and trials may have changed
    except KeyboardInterrupt:
        return


def _view(store: StudyStore, folder: StudyFolder, lines: int, *, running: bool) -> View:
    from sweeper.display.watch import shown, watch_view
    from sweeper.display.work import Work
    from sweeper.search.stored_trial import DEADLINE
    from sweeper.standings.saving import saved_seconds
    from sweeper.study.ending import is_finished
    from sweeper.upkeep.nvidia import percent_busy

    rows = store.rows()
    chosen = shown(rows, store.sweep, lines)
    curves = store.curves([row.number for row in chosen])
    noted = store.noted(DEADLINE) if store.sweep.budget.time is not None else None
    deadline_s = noted["at"] - time.time() if noted else None
    work = Work(
        _images_per_s(rows, folder) if running else 0.0,
        percent_busy() if running else (),
        saved_seconds(rows, store.sweep.reports),
    )
    return watch_view(
        rows,
        chosen,
        curves,
        store.sweep,
        store.budget,
        running=running,
        finished=is_finished(folder, store.sweep, whole=sum(row.state.ended for row in rows) >= store.budget),
        work=work,
        deadline_s=deadline_s,
        instead=_instead_of_trials(folder) if running else "",
    )


def _instead_of_trials(folder: StudyFolder) -> str:
    """Say what the process that holds a study does in place of running trials; nothing where it runs them."""
    from sweeper.confirm.repetitions import latest, stored_repetitions
    from sweeper.safeguards.quantity import quantity
    from sweeper.study.lock import CONFIRMS, WHICH, other_work
    from sweeper.study.requests import is_paused

    if is_paused(folder):
        return "paused: `sweeper resume` lets the trials go on"
    _, _, does = (other_work(folder) or "").partition(WHICH)
    if does != CONFIRMS:
        return f"a process {does}" if does else ""
    repetitions = latest(stored_repetitions(folder.confirmation))
    done = sum(one.outcome is not None for one in repetitions)
    return f"the best trials are trained again: {done} of {quantity(len(repetitions), 'repetition')} done"


def _images_per_s(rows: Sequence[TrialRow], folder: StudyFolder) -> float:
    """Return how many images the trials that run trained in a second of their latest epoch, all together."""
    from sweeper.display.work import rate_of
    from sweeper.errors import DamagedFile
    from sweeper.results import TrialState, read_history

    rates = []
    for row in rows:
        if row.state is TrialState.RUNNING:
            with suppress(DamagedFile, OSError):  # the driver may be writing or removing it
                rates += [rate_of(epoch) for epoch in read_history(folder.trial(row.number).history)[-1:]]
    return sum(rates)
