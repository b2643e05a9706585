"""`sweeper best`: the winner of a study, and its export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweeper.commands import exporting
from sweeper.commands.options import StorageOption, StudyArgument, TrackingOption
from sweeper.commands.studies import open_study, this_workspace, winner_of
from sweeper.commands.terminal import say, show


def best(
    study: StudyArgument = None,
    export: Annotated[bool, typer.Option("--export", help="Export the winner and check every format.")] = False,
    to: Annotated[Path | None, typer.Option(help="Folder of the export, by default exports/STUDY.")] = None,
    prefer: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Take the best in this metric or cost, such as parameters.")
    ] = None,
    within: Annotated[
        float | None, typer.Option(min=0, help="... among trials whose objective is at most so much worse.")
    ] = None,
    register: exporting.RegisterOption = True,
    fp16: exporting.Fp16Option = False,
    int8: exporting.Int8Option = False,
    tolerance: exporting.ToleranceOption = 0.01,
    soup: exporting.SoupOption = False,
    ensemble: exporting.EnsembleOption = False,
    leaders: exporting.LeadersOption = 5,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Print the winner of a study with its parameters and the runners-up; export and register it.

    It is the trial that `sweeper confirm` chose, else the one with the best objective. Of several objectives it
    is the one on the Pareto front that is best in the first that judges the model, or in the one you prefer.
    """
    from sweeper.display.confirmation import confirmed_lines
    from sweeper.display.tables import params_table, ranked_table, score
    from sweeper.standings.winner import confirmed

    workspace = this_workspace()
    store = open_study(workspace, storage, study)
    sweep, rows = store.sweep, store.rows()
    row, found = winner_of(store, prefer, within), None if prefer else confirmed(store)
    say(
        f"study {sweep.study}: trial {row.number} is best, {sweep.objective.metric} {score(row.value)} "
        f"in epoch {row.best_epoch}"
    )
    for line in confirmed_lines(found, sum(row.ended_ms is not None for row in rows)) if found else ():
        say(line)
    show(params_table(row, rows))
    show(ranked_table(rows, sweep, limit=5))
    if export or to:
        asked = exporting.Asked(
            fp16=fp16, int8=int8, soup=soup, ensemble=ensemble, leaders=leaders, tolerance=tolerance
        )
        exporting.export(workspace, store, row, asked, to, tracking_uri, register=register)
