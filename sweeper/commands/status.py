"""`sweeper status`: the trials of a study."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeper.commands.options import JsonOption, StorageOption, StudyArgument
from sweeper.commands.running import say_disk_use
from sweeper.commands.studies import open_study, this_workspace
from sweeper.commands.terminal import say, show, warn, write_json

LISTED_TRIALS = 200
"""`status` lists this many of the latest trials, unless all are asked for."""


def status(
    study: StudyArgument = None,
    every: Annotated[bool, typer.Option("--all", help=f"List every trial, not the latest {LISTED_TRIALS}.")] = False,
    as_json: JsonOption = False,
    storage: StorageOption = None,
) -> None:
    """List the trials of a study: state, best value, epoch, duration and reason."""
    from sweeper.display.answers import StatusAnswer, TrialAnswer
    from sweeper.display.tables import status_table
    from sweeper.safeguards.quantity import portion
    from sweeper.standings.no_winner import without_winner
    from sweeper.study.requests import is_paused
    from sweeper.study.trained import is_simulated

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    rows = store.rows() if every else store.latest_rows(LISTED_TRIALS)
    counts = store.counts()
    if as_json:
        trials = tuple(TrialAnswer.of(row) for row in rows)
        answer = StatusAnswer(study=store.sweep.study, ended=counts.ended, budget=store.budget, trials=trials)
        write_json(answer.model_dump(mode="json"))
        return
    simulated = ", simulated: nothing was trained" if is_simulated(store) else ""
    planned = None if store.sweep.budget.open_ended else store.budget
    waits = is_paused(workspace.study(store.sweep.study))
    paused = "; paused: `sweeper resume` lets its trials go on" if waits else ""
    say(f"study {store.sweep.study}: {portion(counts.ended, planned, 'trial')} ended{simulated}{paused}")
    if len(rows) < counts.known:
        listed = portion(len(rows), counts.known, "trial")
        say(f"listed: {listed}, the latest and those that have not ended; --all lists every one")
    show(status_table(rows, store.sweep))
    if counts.ended and not counts.complete:
        warn(without_winner(store.sweep.study, store.rows(), listed=True))
    say_disk_use(workspace)
