"""`sweeper watch`: a running study from another terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from sweeper.commands.options import StorageOption, StudyArgument
from sweeper.commands.studies import open_study, this_workspace
from sweeper.commands.terminal import out, redrawn, show

if TYPE_CHECKING:
    from sweeper.display.watch import View
    from sweeper.search.study_store import StudyStore

AROUND = 8
"""Lines of a terminal beside those of the trials."""

LINES_OF_A_PIPE = 20


def watch(
    study: StudyArgument = None,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    storage: StorageOption = None,
) -> None:
    """Show a study while it runs: trials, curves, the best so far, the time left. Ctrl-C ends it, not the study.

    It ends when the study does. Without a terminal it shows the study once.
    """
    from sweeper.study.lock import is_running

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    folder = workspace.study(store.sweep.study)
    if not out.is_terminal:
        show(_view(store, LINES_OF_A_PIPE, running=is_running(folder)))
        return
    try:
        with redrawn() as draw:
            while True:
                running = is_running(folder)
                draw(_view(store, max(3, out.size.height - AROUND), running=running))
                if not running:
                    return
                time.sleep(every)
                store = open_study(workspace, storage, store.sweep.study)  # its epochs and trials may have changed
    except KeyboardInterrupt:
        return


def _view(store: StudyStore, lines: int, *, running: bool) -> View:
    from sweeper.display.watch import shown, watch_view
    from sweeper.search.stored_trial import DEADLINE

    rows = store.rows()
    chosen = shown(rows, store.sweep, lines)
    curves = store.curves([row.number for row in chosen])
    noted = store.noted(DEADLINE) if store.sweep.budget.time is not None else None
    deadline_s = noted["at"] - time.time() if noted else None
    return watch_view(rows, chosen, curves, store.sweep, store.budget, running=running, deadline_s=deadline_s)
